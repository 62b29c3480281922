// The panel on the right: all that is known of the selected node.
{
  const panel = document.getElementById("details");
  const link = (i) => el("button", { class: "link mono", onclick: () => select(i) }, D.nodes[i].name);
  const row = (list, term, value) => {
    if (value === undefined || value === "" || value === null) return;
    list.append(el("dt", {}, term), el("dd", {}, value));
  };
  const links = (indices) => indices.length ? el("div", { class: "list" }, indices.map(link)) : "";

  function kernelRows(list, launch) {
    for (const [key, value] of Object.entries(launch.kernel ?? {})) {
      row(list, key.replace(/_us$/, " µs").replaceAll("_", " "), String(value));
    }
  }

  function placementOf(n) {
    if (!D.plan || n.launch === undefined) return undefined;
    return D.plan.placements.find((p) => p.buffer !== undefined && D.plan.buffers[p.buffer].name === n.name);
  }

  function facts(n) {
    const list = el("dl");
    const launch = n.launch === undefined ? undefined : D.launches[n.launch];
    row(list, "Operator", n.target);
    row(list, "Result", n.type);
    row(list, "Bytes", n.bytes === undefined ? "" : `${bytes(n.bytes)} (${count(n.bytes)})`);
    row(list, "Module", n.module);
    row(list, "Source", n.source);
    row(list, "Storage", n.storage === undefined ? "" : `${n.storage}${n.storage_kind ? `, ${n.storage_kind}` : ""}${n.view ? ", view" : ""}`);
    if (launch) {
      row(list, "Launch", `l${n.launch}, ${launch.kind}${launch.implementation ? `, ${launch.implementation}` : ""}`);
      row(list, "Why", launch.reason);
      row(list, "Moves", bytes(n.moved));
      row(list, "FLOP", flop(n.flops));
      row(list, "Workspace", launch.workspace && bytes(launch.workspace));
      row(list, "Predicted", micros(n.predicted_us));
      row(list, "Measured", n.measured_us === undefined ? "" : `${micros(n.measured_us)} (${percent(n.measured_us, totalWeight)})`);
      kernelRows(list, launch);
    }
    const place = placementOf(n);
    if (place) row(list, "Arena", `[${count(place.offset)}, ${count(place.offset + place.bytes)}) during l${place.first}–l${place.last}`);
    row(list, "Reads", links(n.inputs));
    row(list, "Read by", links(n.users));
    return list;
  }

  selection.listeners.push((index) => {
    const n = D.nodes[index];
    panel.hidden = !n;
    if (!n) return;
    const fusion = n.target.startsWith("fusion.") ? n.target.slice(7) : "";
    panel.replaceChildren(
      el("button", { class: "close", title: "Close", onclick: () => select(-1) }, "×"),
      el("h3", {}, n.name), el("div", { class: "muted" }, operator(n)),
      facts(n),
      el("div", { class: "actions" },
        el("button", { class: "button", onclick: () => show("graph") }, "In the graph"),
        el("button", { class: "button", onclick: () => show("nodes") }, "In the table"),
        fusion && el("button", { class: "button", onclick: () => show("fusions") }, "Fusion")),
      el("pre", {}, nodeText(n)),
      sourceOf.has(n.name) ? el("details", {}, el("summary", {}, sourceOf.get(n.name).name), el("pre", {}, sourceText(sourceOf.get(n.name)))) : "");
  });
}
