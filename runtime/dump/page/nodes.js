// The table of nodes: searched, sorted, and drawn only where it can be seen.
const table = { rows: D.nodes.slice(), query: "", key: "index", descending: false, refresh: () => {} };
{
  const ROW = 28;
  const columns = [
    ["index", "#", "46px", "num", (n) => n.index],
    ["name", "Node", "minmax(150px, 1.3fr)", "", (n) => n.name],
    ["target", "Operator", "minmax(150px, 1.2fr)", "", (n) => operator(n)],
    ["type", "Result", "minmax(130px, 1fr)", "", (n) => n.type ?? ""],
    ["bytes", "Bytes", "84px", "num", (n) => bytes(n.bytes)],
    ["moved", "Moved", "84px", "num", (n) => bytes(n.moved)],
    ["flops", "FLOP", "76px", "num", (n) => flop(n.flops)],
    ["predicted_us", "Predicted", "92px", "num", (n) => micros(n.predicted_us)],
    ["measured_us", "Measured", "92px", "num", (n) => micros(n.measured_us)],
    ["how", "Carried out by", "minmax(120px, .9fr)", "", (n) => n.how],
    ["module", "Module or source", "minmax(150px, 1.3fr)", "", (n) => n.module || n.source || ""],
  ].filter(([key]) => !key.endsWith("_us") || D.nodes.some((n) => n[key] !== undefined));

  function matches(words) {
    return (n) => words.every((w) => n.hay.includes(w));
  }

  table.search = (query) => {
    table.query = query;
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    table.rows = words.length ? D.nodes.filter(matches(words)) : D.nodes.slice();
    const { key, descending } = table;
    if (key !== "index" || descending) {
      table.rows.sort((a, b) => {
        const x = a[key], y = b[key];
        if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
        const order = typeof x === "number" ? x - y : x < y ? -1 : x > y ? 1 : 0;
        return (descending ? -order : order) || a.index - b.index;
      });
    }
    table.refresh();
  };

  function draw(scroller, body, counter) {
    counter.textContent = table.rows.length === D.nodes.length ? plural(D.nodes.length, "node")
      : `${count(table.rows.length)} of ${plural(D.nodes.length, "node")}`;
    body.style.height = `${table.rows.length * ROW}px`;
    const first = Math.max(0, Math.floor(scroller.scrollTop / ROW) - 6);
    const last = Math.min(table.rows.length, first + Math.ceil(scroller.clientHeight / ROW) + 14);
    const rows = [];
    for (let i = first; i < last; ++i) {
      const n = table.rows[i];
      rows.push(el("div", {
        class: n.index === selection.node ? "row selected" : "row", style: `top:${i * ROW}px`,
        "data-node": n.name, onclick: () => select(n.index),
      }, columns.map(([key, , , kind, text]) => {
        const value = text(n);
        const share = key === "measured_us" && timed && totalWeight > 0 && n.measured_us;
        return el("div", { class: `${kind}${share ? " share" : ""}`, title: kind ? undefined : value },
          key === "name" && el("i", { class: "dot", style: `background:${COLOR[n.family]}` }), value,
          share && el("i", {}, el("b", { style: `width:${Math.min(100, 400 * n.measured_us / totalWeight).toFixed(1)}%` })));
      })));
    }
    body.replaceChildren(...rows);
  }

  if (D.nodes.length) addView("nodes", "Nodes", (view) => {
    view.classList.add("flush");
    const counter = el("span", { class: "muted", id: "node-count" });
    const body = el("div", { class: "body" });
    const head = el("div", { class: "head" });
    const scroller = el("div", { class: "table fill" }, head, body);
    const drawHead = () => head.replaceChildren(...columns.map(([key, title, , kind]) => el("div", {
      class: kind, onclick: () => {
        table.descending = table.key === key ? !table.descending : kind === "num" && key !== "index";
        table.key = key;
        drawHead();
        table.search(table.query);
      } }, title, table.key === key ? (table.descending ? " ▾" : " ▴") : "")));
    scroller.style.setProperty("--columns", columns.map((c) => c[2]).join(" "));
    table.refresh = () => draw(scroller, body, counter);
    scroller.addEventListener("scroll", table.refresh);
    new ResizeObserver(table.refresh).observe(scroller);
    selection.listeners.push(table.refresh);
    drawHead();
    view.append(el("div", { class: "bar-row" }, counter, el("span", { class: "spring" }),
      el("div", { class: "legend" }, FAMILIES.filter((f) => D.nodes.some((n) => n.family === f[0]))
        .map((f) => el("span", {}, el("i", { style: `background:${f[2]}` }), f[1])))), scroller);
    table.reveal = (index) => {
      let at = table.rows.findIndex((n) => n.index === index);
      if (at < 0) return;
      const top = at * ROW;
      if (top < scroller.scrollTop || top > scroller.scrollTop + scroller.clientHeight - 3 * ROW) scroller.scrollTop = top - scroller.clientHeight / 2;
    };
    table.search(table.query);
  }, { shown: () => { if (selection.node >= 0) table.reveal(selection.node); } });
}
