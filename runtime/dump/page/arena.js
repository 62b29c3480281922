// The arena over time: one rectangle per placement, launches from left to right, bytes upwards.
if (D.plan) {
  const { plan } = D;
  const launches = D.launches.length;
  const size = { left: 76, right: 18, top: 16, height: 430, live: 90, gap: 26, bottom: 24 };
  let zoom = 1;

  const ownerOf = (p) => {
    const name = p.buffer === undefined ? D.launches[p.workspace_of].node : plan.buffers[p.buffer].name;
    return indexByName.get(name.replace(/#\d+$/, ""));
  };

  /// Bytes in use during each launch.
  function live() {
    const change = new Array(launches + 1).fill(0);
    for (const p of plan.placements) {
      if (p.first < 0) continue;
      change[p.first] += p.bytes;
      change[p.last + 1] -= p.bytes;
    }
    let sum = 0;
    return change.slice(0, launches).map((c) => (sum += c));
  }

  function ticks(most) {
    const raw = most / 5, base = 2 ** Math.floor(Math.log2(Math.max(1, raw)));
    const step = [1, 2, 4].map((k) => k * base).find((s) => s >= raw) ?? raw;
    return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step);
  }

  function draw(scroller) {
    const width = Math.max(300, (scroller.clientWidth - size.left - size.right - 4) * zoom);
    size.height = Math.max(220, scroller.clientHeight - size.top - size.gap - size.live - size.bottom - 14);
    const most = Math.max(plan.arena_bytes, plan.lower_bound_bytes, 1);
    const x = (launch) => size.left + width * launch / Math.max(1, launches);
    const y = (offset) => size.top + size.height * (1 - offset / most);
    const bottom = size.top + size.height + size.gap + size.live;
    const picture = svg("svg", { width: width + size.left + size.right, height: bottom + size.bottom });
    for (const t of ticks(most)) {
      picture.append(svg("line", { class: "axis", x1: size.left, x2: x(launches), y1: y(t), y2: y(t) }),
        svg("text", { x: size.left - 8, y: y(t) + 4, "text-anchor": "end" }, bytes(t)));
    }
    for (const p of plan.placements) {
      const owner = ownerOf(p);
      const n = D.nodes[owner];
      const name = n?.name ?? plan.buffers[p.buffer]?.name;
      picture.append(svg("rect", {
        class: owner === selection.node ? "block selected" : "block", x: x(p.first), y: y(p.offset + p.bytes), "data-block": name,
        width: Math.max(1.2, x(p.last + 1) - x(p.first)), height: Math.max(1, y(p.offset) - y(p.offset + p.bytes)),
        fill: n ? COLOR[n.family] : "#64748b", "fill-opacity": p.buffer === undefined ? 0.45 : 0.85,
        onclick: () => select(owner ?? -1),
        onmousemove: (event) => showTip(event, `${name}${p.buffer === undefined ? " (workspace)" : ""}`, n?.target, n?.type,
          `${bytes(p.bytes)} at ${count(p.offset)}`, `l${p.first} to l${p.last}`),
        onmouseleave: hideTip }));
    }
    const mark = (value, dash, text) => picture.append(
      svg("line", { x1: size.left, x2: x(launches), y1: y(value), y2: y(value), stroke: "var(--del-text)", "stroke-width": 1.2, "stroke-dasharray": dash }),
      svg("text", { class: "mark", x: x(launches) - 6, y: y(value) + 15, "text-anchor": "end" }, text));
    const arena = `arena ${bytes(plan.arena_bytes)}`, bound = `lower bound ${bytes(plan.lower_bound_bytes)}`;
    const differ = plan.lower_bound_bytes < plan.arena_bytes;
    const near = differ && y(plan.lower_bound_bytes) - y(plan.arena_bytes) < 18;  // no room for a text between
    mark(plan.arena_bytes, "", near ? "" : arena);
    if (differ) mark(plan.lower_bound_bytes, "5 4", near ? `${arena}, ${bound}` : bound);
    picture.append(liveArea(x, bottom, most));
    scroller.replaceChildren(picture);
  }

  function liveArea(x, bottom, most) {
    const values = live();
    const y = (v) => bottom - size.live * v / most;
    let d = `M${x(0)} ${bottom}`;
    values.forEach((v, i) => { d += `V${y(v).toFixed(1)}H${x(i + 1).toFixed(1)}`; });
    const peak = values.indexOf(Math.max(...values, 0));
    return svg("g", {}, svg("path", { d: `${d}V${bottom}Z`, fill: "var(--accent)", "fill-opacity": 0.25, stroke: "var(--accent)" }),
      svg("line", { class: "axis", x1: x(0), x2: x(launches), y1: bottom, y2: bottom }),
      svg("text", { x: size.left - 8, y: bottom - size.live + 10, "text-anchor": "end" }, "live"),
      peak >= 0 && svg("circle", { cx: (x(peak) + x(peak + 1)) / 2, cy: y(values[peak]), r: 3.5, fill: "var(--del-text)" }),
      [0, 0.25, 0.5, 0.75, 1].map((f) => svg("text", { x: x(f * launches), y: bottom + 16, "text-anchor": f === 0 ? "start" : f === 1 ? "end" : "middle" }, `l${Math.round(f * launches)}`)));
  }

  addView("arena", "Arena", (view) => {
    view.classList.add("flush");
    const scroller = el("div", { class: "arena fill" });
    const again = () => draw(scroller);
    const setZoom = (z) => { zoom = Math.max(1, Math.min(64, z)); again(); };
    const weights = plan.buffers.filter((b) => b.kind === "weight").reduce((s, b) => s + b.bytes, 0);
    const ratio = plan.lower_bound_bytes > 0 ? ` (${(plan.arena_bytes / plan.lower_bound_bytes).toFixed(3)} × lower bound ${bytes(plan.lower_bound_bytes)})` : "";
    view.append(el("div", { class: "bar-row" },
      el("span", {}, `${bytes(plan.arena_bytes)}${ratio}`),
      el("span", { class: "muted" }, `${plural(plan.placements.length, "placement")}, ${plan.concurrency} plan, ${plural(plan.edges.length, "edge")}; weights outside the arena: ${bytes(weights)}`),
      el("span", { class: "spring" }),
      el("button", { class: "button", title: "Shorter", onclick: () => setZoom(zoom / 2) }, "−"),
      el("button", { class: "button", title: "Longer", onclick: () => setZoom(zoom * 2) }, "+")), scroller);
    new ResizeObserver(again).observe(scroller);
    selection.listeners.push(again);
  });
}
