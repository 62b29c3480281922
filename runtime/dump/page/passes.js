// The graph after every stage, and what each pass changed.
let openStage = () => {};
{
  let current = 0, whole = false, everything = false;
  const MOST = 3000;

  /// Words of both lines that differ, for lines about the same node.
  function compare(before, after) {
    const a = before.split(/([\s,()[\]{}=]+)/), b = after.split(/([\s,()[\]{}=]+)/);
    let head = 0, tail = 0;
    while (head < Math.min(a.length, b.length) && a[head] === b[head]) ++head;
    while (tail < Math.min(a.length, b.length) - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) ++tail;
    const marked = (parts) => [parts.slice(0, head).join(""), el("mark", {}, parts.slice(head, parts.length - tail).join("")), parts.slice(parts.length - tail).join("")];
    return [marked(a), marked(b)];
  }
  const nameIn = (line) => /^\s*%([\w.]+|"[^"]*")/.exec(line)?.[1];

  function rowsOf(stage) {
    const before = D.stages[current - 1]?.lines ?? [], after = stage.lines;
    const rows = [];
    let a = 0, b = 0;
    for (const [kind, length] of stage.diff ?? [["=", after.length]]) {
      for (let i = 0; i < length; ++i) {
        if (kind === "=") rows.push({ kind, a: a++, b: b, line: after[b++] });
        else if (kind === "-") rows.push({ kind, a: a, line: before[a++] });
        else rows.push({ kind, b: b, line: after[b++] });
      }
    }
    return rows;
  }

  function pairs(rows) {
    const removed = new Map();
    for (const r of rows) if (r.kind === "-") removed.set(nameIn(D.lines[r.line]), r);
    for (const r of rows) {
      const other = r.kind === "+" ? removed.get(nameIn(D.lines[r.line])) : undefined;
      if (other) [other.parts, r.parts] = compare(D.lines[other.line], D.lines[r.line]);
    }
  }

  const lineOf = (r) => {
    const kind = r.kind === "+" ? " add" : r.kind === "-" ? " del" : "";
    return el("div", { class: `l${kind}` }, el("i", {}, r.a === undefined || r.kind === "+" ? "" : r.a + 1), el("i", {}, r.b === undefined || r.kind === "-" ? "" : r.b + 1),
      el("b", {}, kind ? r.kind.replace("-", "−") : ""), el("span", {}, r.parts ?? D.lines[r.line]));
  };

  function code(stage) {
    if (!stage.lines) return el("div", { class: "note" }, `Too long for this page: see ${stage.file}`);
    const rows = rowsOf(stage);
    pairs(rows);
    const changed = rows.map((r) => r.kind !== "=");
    const near = (i) => { for (let k = Math.max(0, i - 3); k <= Math.min(rows.length - 1, i + 3); ++k) if (changed[k]) return true; return false; };
    const out = [];
    let skipped = 0;
    const gap = () => { if (skipped) out.push(el("div", { class: "gap" }, plural(skipped, "unchanged line"))); skipped = 0; };
    for (let i = 0; i < rows.length; ++i) {
      if (!whole && stage.diff && !near(i)) { ++skipped; continue; }
      gap();
      if (out.length >= MOST && !everything) {
        out.push(el("button", { class: "button", onclick: () => { everything = true; openStage(current); } }, `Show ${count(rows.length - i)} more lines`));
        return el("div", { class: "code" }, out);
      }
      out.push(lineOf(rows[i]));
    }
    gap();
    return el("div", { class: "code" }, out);
  }

  function sideOf() {
    const entries = [];
    if (D.stages.length) entries.push({ name: D.stages[0].name, text: plural(D.summary.nodes_traced, "node"), stage: 0 });
    for (const p of D.passes) {
      entries.push({ name: p.name, stage: p.stage, text: p.changes === 0 ? "nothing to do" : `${plural(p.changes, "change")}, ${count(p.nodes_before)} → ${count(p.nodes_after)} nodes, ${millis(p.ms)}` });
    }
    return el("div", { class: "side" }, entries.map((e) => el("button", {
      disabled: e.stage === undefined, "aria-selected": e.stage === current ? "true" : "false", "data-stage": e.stage, onclick: () => openStage(e.stage) },
      el("b", {}, e.name), el("span", {}, e.text))));
  }

  function draw(view) {
    const stage = D.stages[current];
    const pass = D.passes.find((p) => p.stage === current);
    const mode = (text, value) => el("button", { class: whole === value ? "button on" : "button", onclick: () => { whole = value; draw(view); } }, text);
    view.replaceChildren(el("div", { class: "split fill" }, sideOf(), el("div", { class: "pane" },
      el("div", { class: "bar-row" }, el("b", {}, stage.name), el("span", { class: "muted mono" }, stage.file),
        el("span", { class: "spring" }), stage.diff && [mode("Changes", false), mode("Whole graph", true)]),
      pass?.notes && el("details", { class: "notes" }, el("summary", {}, plural(pass.notes.length, "note")), el("pre", { class: "text" }, pass.notes.join("\n"))),
      code(stage))));
  }

  if (D.stages.length) addView("passes", "Passes", (view) => {
    view.classList.add("flush");
    const first = D.passes.find((p) => p.stage !== undefined);
    current = current || (first ? first.stage : 0);
    openStage = (stage) => {
      if (stage !== current) everything = false;
      current = stage;
      draw(view);
    };
    draw(view);
  });
  openStage = (stage) => { current = stage; show("passes"); };
}
