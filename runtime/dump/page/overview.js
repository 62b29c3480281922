// Where the module came from and what it became: pipeline, figures, heaviest operators and nodes.
{
  function figures() {
    const s = D.summary;
    const items = [
      [count(s.nodes_final ?? s.nodes_traced), `nodes (${count(s.nodes_traced)} traced)`],
      s.launches !== undefined && [count(s.launches), "launches"],
      s.arena_bytes !== undefined && [bytes(s.arena_bytes), `arena (${s.arena_lower_bound > 0 ? `${(s.arena_bytes / s.arena_lower_bound).toFixed(2)} × lower bound` : "empty"})`],
      [bytes(s.weight_bytes), "weights"],
      s.measured_us !== undefined && [micros(s.measured_us), "all launches, measured"],
      [millis(s.trace_ms + s.passes_ms + s.build_ms), "capture: trace, passes, build"],
    ];
    return el("div", { class: "figures" }, items.filter(Boolean).map(([value, label]) =>
      el("div", { class: "figure" }, el("b", {}, value), el("span", {}, label))));
  }

  function pipeline() {
    const s = D.summary;
    const stage = (name, first, second, target) => el("div", {
      class: target ? "stage active" : "stage", title: name, onclick: target }, el("b", {}, name), el("span", {}, first), el("span", {}, second));
    const stages = [stage("trace", plural(s.nodes_traced, "node"), millis(s.trace_ms), () => openStage(0))];
    for (const p of D.passes) {
      const change = p.nodes_after - p.nodes_before;
      stages.push(stage(p.name, p.changes === 0 ? "nothing to do" : `${plural(p.changes, "change")}${change ? `, ${change > 0 ? "+" : "−"}${Math.abs(change)}` : ""}`,
        millis(p.ms), p.stage === undefined ? undefined : () => openStage(p.stage)));
    }
    if (s.launches !== undefined) {
      stages.push(stage("lower", plural(s.launches, "launch", "launches"), D.backend, () => show("launches")));
      stages.push(stage("plan", plural(s.edges, "edge"), bytes(s.arena_bytes), () => show("arena")));
      stages.push(stage("build", D.backend, millis(s.build_ms)));
    }
    return el("div", { class: "card" }, el("h2", {}, "Pipeline"), el("div", { class: "pipeline" }, stages));
  }

  function bars(rows, text) {
    const most = Math.max(...rows.map((r) => r.value), 1e-12);
    return el("div", { class: "bars" }, rows.map((r) => [
      el("div", { class: "label" }, el("i", { class: "dot", style: `background:${r.color}` }),
        r.open ? el("button", { class: "link", onclick: r.open, title: r.label }, r.label) : r.label),
      el("div", { class: "track" }, el("div", { class: "bar", style: `width:${(100 * r.value / most).toFixed(2)}%;background:${r.color}` })),
      el("div", { class: "value" }, `${text(r.value)}  ·  ${percent(r.value, totalWeight)}`),
    ]));
  }

  function byOperator() {
    const sums = new Map();
    for (const n of D.nodes) {
      if (n.launch === undefined) continue;
      const entry = sums.get(n.target) ?? { label: n.target, value: 0, nodes: 0, color: COLOR[n.family] };
      entry.value += weightOf(n);
      ++entry.nodes;
      sums.set(n.target, entry);
    }
    const rows = [...sums.values()].sort((a, b) => b.value - a.value).slice(0, 12);
    for (const r of rows) {
      const target = r.label;
      r.label = `${shortTarget(target)} × ${r.nodes}`;
      r.open = () => searchFor(target);
    }
    return el("div", { class: "card" }, el("h2", {}, "Operators", el("small", {}, `by ${weightName}`)), bars(rows, weightText));
  }

  function heaviest() {
    const rows = D.nodes.filter((n) => n.launch !== undefined).sort((a, b) => weightOf(b) - weightOf(a)).slice(0, 12)
      .map((n) => ({ label: n.name, value: weightOf(n), color: COLOR[n.family], open: () => select(n.index) }));
    return el("div", { class: "card" }, el("h2", {}, "Heaviest nodes", el("small", {}, `by ${weightName}`)), bars(rows, weightText));
  }

  function byModule() {
    const sums = new Map();
    for (const n of D.nodes) {
      if (n.launch === undefined) continue;
      const path = segments(n.module).slice(0, 2).join(".") || "(none)";
      sums.set(path, (sums.get(path) ?? 0) + weightOf(n));
    }
    const rows = [...sums].map(([label, value]) => ({ label, value, color: "var(--accent)", open: label === "(none)" ? undefined : () => searchFor(label) }))
      .sort((a, b) => b.value - a.value).slice(0, 12);
    return el("div", { class: "card" }, el("h2", {}, "Modules", el("small", {}, `by ${weightName}`)), bars(rows, weightText));
  }

  function backendCard() {
    const texts = (D.backend_texts ?? []).filter((t) => t.name === "device");
    const allocating = D.summary.allocating_launches ?? [];
    if (!texts.length && !allocating.length) return undefined;
    return el("div", { class: "card" }, el("h2", {}, "Back end"),
      texts.map((t) => el("pre", { class: "text" }, t.text)),
      allocating.length ? el("div", {}, el("p", { class: "muted" }, `${plural(allocating.length, "launch", "launches")} allocate on every replay:`),
        el("pre", { class: "text" }, allocating.join("\n"))) : undefined);
  }

  addView("overview", "Overview", (view) => {
    if (D.rejection) view.append(rejectionCard());
    if (D.nodes.length || D.stages.length) view.append(figures(), pipeline());
    if (D.launches.length) {
      view.append(el("div", { class: "grid" }, byOperator(), heaviest(), D.nodes.some((n) => n.module) && byModule(), backendCard()));
    }
  });
}
