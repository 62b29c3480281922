// How each call is carried out and why, and the sources of what runs.
{
  const rowsOf = () => D.launches.map((l, i) => {
    const known = Object.entries(l.kernel ?? {}).filter(([, v]) => !(v < 0));  // -1: the compiler doesn't say
    const kernel = known.map(([k, v]) => `${k}=${v}`).join(" ");
    const n = D.nodes[indexByName.get(l.node)];
    return el("tr", { onclick: () => select(n?.index ?? -1) }, el("td", { class: "muted" }, `l${i}`), el("td", { class: "wrap" }, l.node), el("td", { class: "wrap" }, n ? shortTarget(n.target) : ""),
      el("td", {}, l.kind), el("td", {}, l.implementation ?? ""), el("td", { class: "muted wrap why" }, l.reason ?? ""),
      el("td", { class: "muted" }, l.workspace ? bytes(l.workspace) : ""), D.launches.some((x) => x.kernel) && el("td", { class: "muted mono wrap" }, kernel));
  });
  function kinds() {
    const sums = new Map();
    for (const l of D.launches) {
      const key = l.implementation || l.kind;
      sums.set(key, (sums.get(key) ?? 0) + 1);
    }
    return [...sums].sort((a, b) => b[1] - a[1]).map(([name, n]) => `${name} × ${n}`).join(",  ");
  }
  if (D.launches.length) addView("launches", "Launches", (view) => {
    view.append(el("div", { class: "card" }, el("h2", {}, "Lowering", el("small", {}, kinds())),
      el("table", { class: "plain" }, el("thead", {}, el("tr", {}, ["", "Node", "Operator", "Kind", "Carried out by", "Why", "Workspace", D.launches.some((x) => x.kernel) && "Kernel"].filter((t) => t !== false).map((t) => el("th", {}, t)))),
        el("tbody", {}, rowsOf()))));
    for (const s of D.sources ?? []) {
      view.append(el("details", { class: "card" }, el("summary", {}, `${s.name}  ·  ${plural(s.nodes.length, "launch", "launches")}`), el("pre", { class: "text" }, sourceText(s))));
    }
    for (const t of D.backend_texts ?? []) {
      view.append(el("details", { class: "card" }, el("summary", {}, t.name), el("pre", { class: "text" }, t.text)));
    }
  });
}
