// Why a module was refused, with the line of its graph that is to blame.
function rejectionCard() {
  const r = D.rejection;
  const rows = [["Code", r.code], ["Operator", r.op], ["Node", r.node && `%${r.node}`], ["Where", r.module_path], ["What", r.subject], ["Remedy", r.remedy]].filter((x) => x[1]);
  const lines = r.excerpt ? r.excerpt.split("\n") : [];
  return el("div", { class: "card alert", id: "rejection" }, el("h2", {}, "Not captured"), el("div", {}, r.reason),
    el("dl", {}, rows.map(([k, v]) => [el("dt", {}, k), el("dd", {}, v)])),
    lines.length ? el("div", { class: "code", style: "margin-top:14px" }, lines.map((l, i) => {
      const bad = l.trimStart().startsWith(">>>");
      return el("div", { class: bad ? "l bad" : "l", "data-bad": bad }, el("i", {}, i + 1), el("i", {}), el("b", {}), el("span", {}, l));
    })) : undefined);
}
