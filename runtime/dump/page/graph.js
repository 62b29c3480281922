// The graph as a picture: modules are boxes that open and close; drag to move, wheel to zoom.
const graph = { reveal: () => {}, refresh: () => {} };
{
  const options = { weights: false, views: false, heat: false };
  const root = moduleTree(D.nodes);
  const camera = { x: 0, y: 0, scale: 1 };
  let stageBox, world, scene, elements = new Map();

  const cut = (text, most) => text.length > most ? `${text.slice(0, most - 1)}…` : text;
  const label = (n) => n.kind === "placeholder" || n.kind === "get_attr" ? n.target
    : n.kind === "output" ? "output" : shortTarget(n.target);
  options.measure = (n) => {
    const first = cut(label(n), 26), second = cut(n.type ?? "", 30);
    return { first, second, w: Math.max(58, first.length * 6.5, second.length * 5.5) + 22, h: second ? 36 : 24 };
  };
  const launchesIn = (group) => group.all.filter((n) => n.launch !== undefined);
  options.measureGroup = (group) => {
    const inside = launchesIn(group);
    const weight = inside.reduce((s, n) => s + weightOf(n), 0);
    const second = `${plural(inside.length, "launch", "launches")}  ·  ${percent(weight, totalWeight) || "0 %"}`;
    return { first: cut(group.name, 30), second, w: Math.max(group.name.length * 6.8, second.length * 5.5) + 34, h: 40 };
  };

  /// Opens groups level by level as long as the picture stays readable.
  function openSome(limit) {
    const drawn = (g) => g.nodes.filter((n) => n.launch !== undefined || n.kind === "placeholder" || n.kind === "output").length;
    let level = root.children, shown = drawn(root) + level.length;
    while (level.length) {
      const next = level.reduce((s, g) => s + drawn(g) + g.children.length - 1, 0);
      if (shown + next > limit) return;
      for (const g of level) g.open = true;
      shown += next;
      level = level.flatMap((g) => g.children);
    }
  }
  const openAll = (open, group = root) => {
    if (group !== root) group.open = open;
    for (const child of group.children) openAll(open, child);
  };

  function absolute(item) {
    let x = item.x, y = item.y;
    for (let g = item.parent; g.item; g = g.item.parent) { x += g.item.x; y += g.item.y; }
    return { x, y };
  }

  function place(group, x, y) {
    for (const item of group.items) {
      item.ax = x + item.x;
      item.ay = y + item.y;
      if (item.group?.open) place(item.group, item.ax, item.ay);
    }
    for (const points of [...group.edges.map((e) => e.points), ...group.entries.values(), ...group.exits.values()]) {
      for (const p of points) { p.ax = x + p.x + p.w / 2; p.ay = y + p.y; }
    }
  }

  /// Where an edge passes the layers between its ends: out of groups, across, and into groups.
  const between = (link) => [...link.leaves.flatMap(([g, item]) => g.exits.get(item)), ...link.edge.points,
    ...link.enters.flatMap(([g, item]) => g.entries.get(item))];

  function pathOf(link) {
    const { from, to } = link;
    const points = [[from.ax + from.w / 2 + (link.out ?? 0), from.ay + from.h],
      ...between(link).map((p) => [p.ax, p.ay]), [to.ax + to.w / 2 + (link.into ?? 0), to.ay - 1]];
    let d = `M${points[0][0].toFixed(1)} ${points[0][1].toFixed(1)}`;
    for (let i = 1; i < points.length; ++i) {
      const [x0, y0] = points[i - 1], [x1, y1] = points[i];
      const bend = Math.max(10, Math.min(90, Math.abs(y1 - y0) / 2));
      d += `C${x0.toFixed(1)} ${(y0 + bend).toFixed(1)} ${x1.toFixed(1)} ${(y1 - bend).toFixed(1)} ${x1.toFixed(1)} ${y1.toFixed(1)}`;
    }
    return d;
  }

  /// Edges into one node arrive side by side, in the order of where they come from.
  function spreadEnds(links) {
    const byTarget = Map.groupBy ? Map.groupBy(links, (l) => l.to) : links.reduce((m, l) => m.set(l.to, [...(m.get(l.to) ?? []), l]), new Map());
    for (const [to, group] of byTarget) {
      group.sort((a, b) => (between(a).at(-1)?.ax ?? a.from.ax) - (between(b).at(-1)?.ax ?? b.from.ax));
      const step = Math.min(14, to.w * 0.7 / group.length);
      group.forEach((l, i) => { l.into = (i - (group.length - 1) / 2) * step; });
    }
  }

  const heatOf = (weight) => {
    const share = totalWeight > 0 ? weight / totalWeight : 0;
    return `fill:color-mix(in srgb, #e5484d ${Math.min(85, Math.round(700 * share))}%, var(--panel))`;
  };

  function drawNode(item) {
    const n = item.node;
    const color = COLOR[n.family];
    const box = svg("g", { class: `node${n.view ? " view" : ""}`, transform: `translate(${item.ax},${item.ay})`, "data-node": n.name,
      onclick: (event) => { event.stopPropagation(); select(n.index); },
      onmouseenter: (event) => showTip(event, n.name, n.target, n.type, n.measured_us !== undefined ? `measured ${micros(n.measured_us)}` : "", n.module), onmouseleave: hideTip },
      svg("rect", { class: "box", width: item.w, height: item.h, rx: 6, style: options.heat ? heatOf(weightOf(n)) : undefined }),
      svg("rect", { width: 4, height: item.h - 10, x: 5, y: 5, rx: 2, fill: color }),
      svg("text", { x: 15, y: item.second ? 15 : 16 }, item.first),
      item.second && svg("text", { x: 15, y: 28, class: "sub" }, item.second));
    elements.set(n.index, box);
    return box;
  }

  function drawFolded(item) {
    const g = item.group;
    const weight = g.all.reduce((s, n) => s + weightOf(n), 0);
    const box = svg("g", { class: "folded", transform: `translate(${item.ax},${item.ay})`, "data-group": g.path,
      onclick: (event) => { event.stopPropagation(); toggle(g); }, onmouseenter: (event) => showTip(event, g.path, "click to open"), onmouseleave: hideTip },
      svg("rect", { class: "stack", x: 3, y: 3, width: item.w, height: item.h, rx: 8 }),
      svg("rect", { width: item.w, height: item.h, rx: 8, style: options.heat ? heatOf(weight) : undefined }),
      svg("text", { x: 13, y: 17, class: "name" }, item.first),
      svg("text", { x: 13, y: 31, class: "sub" }, item.second),
      svg("text", { x: item.w - 17, y: 18 }, "+"));
    for (const n of g.all) elements.set(n.index, box);
    return box;
  }

  function drawGroup(group, layer, titles) {
    for (const item of group.items) {
      if (!item.group?.open) continue;
      const title = cut(item.group.name, Math.max(6, Math.floor(item.w / 6.8) - 4));
      layer.append(svg("g", { class: "group", transform: `translate(${item.ax},${item.ay})`, "data-group": item.group.path },
        svg("rect", { width: item.w, height: item.h, rx: 10 })));
      titles.append(svg("g", { class: "title", transform: `translate(${item.ax},${item.ay})`, "data-title": item.group.path,
        onclick: (event) => { event.stopPropagation(); toggle(item.group); } },
        svg("rect", { width: item.w, height: 20, fill: "transparent" }),
        svg("text", { x: 10, y: 16, class: "name" }, `− ${title}`)));
      drawGroup(item.group, layer, titles);
    }
  }

  function draw() {
    scene = arrange(root, options);
    layoutGroup(root);
    place(root, 0, 0);
    spreadEnds(scene.links);
    elements = new Map();
    const groups = svg("g"), edges = svg("g"), titles = svg("g"), boxes = svg("g");
    drawGroup(root, groups, titles);
    for (const link of scene.links) {
      link.path = svg("path", { class: `edge${Math.abs(link.to.ay - link.from.ay) > 900 ? " far" : ""}`, d: pathOf(link), "marker-end": "url(#arrow)" });
      edges.append(link.path);
    }
    for (const item of new Set(scene.items.values())) boxes.append(item.node ? drawNode(item) : drawFolded(item));
    world.replaceChildren(groups, edges, titles, boxes);
    mark();
  }

  function mark() {
    for (const [index, box] of elements) {
      box.classList.toggle("selected", index === selection.node && box.classList.contains("node"));
      box.classList.toggle("hit", Boolean(table.query) && table.rows.length < D.nodes.length && table.hits?.has(index) && box.classList.contains("node"));
    }
    const chosen = scene.items.get(selection.node);
    for (const link of scene.links) link.path.classList.toggle("near", chosen !== undefined && (link.from === chosen || link.to === chosen));
  }

  const apply = () => world.setAttribute("transform", `translate(${camera.x},${camera.y}) scale(${camera.scale})`);
  function zoom(factor, x, y) {
    const scale = Math.max(0.03, Math.min(4, camera.scale * factor));
    camera.x = x - (x - camera.x) * scale / camera.scale;
    camera.y = y - (y - camera.y) * scale / camera.scale;
    camera.scale = scale;
    apply();
  }
  function fit(whole) {
    const w = stageBox.clientWidth, h = stageBox.clientHeight;
    camera.scale = Math.min(1.15, (w - 40) / root.w);
    if (whole) camera.scale = Math.min(camera.scale, (h - 30) / root.h);
    else camera.scale = Math.max(0.35, camera.scale);
    camera.x = (w - root.w * camera.scale) / 2;
    camera.y = Math.max(8, Math.min(24, (h - root.h * camera.scale) / 2));
    apply();
  }
  function toggle(group) {
    hideTip();
    const before = absolute(group.item);
    group.open = !group.open;
    draw();
    const after = absolute(group.item);  // the title stays under the pointer
    camera.x += (before.x - after.x) * camera.scale;
    camera.y += (before.y - after.y) * camera.scale;
    apply();
  }
  function center(item) {
    camera.scale = Math.max(camera.scale, 0.8);
    camera.x = stageBox.clientWidth / 2 - (item.ax + item.w / 2) * camera.scale;
    camera.y = stageBox.clientHeight / 2 - (item.ay + item.h / 2) * camera.scale;
    apply();
  }
  graph.reveal = (index) => {
    const n = D.nodes[index];
    if (!n || !world) return;
    if (n.kind === "get_attr" && !options.weights) return;
    if (n.view && !options.views) { options.views = true; document.getElementById("show-views").checked = true; }
    let group = root;
    const open = (g) => { if (g.nodes.includes(n)) return true; return g.children.some((c) => c.all.includes(n) && (c.open = true) && open(c)); };
    open(group);
    draw();
    center(scene.items.get(index));
  };
  graph.refresh = () => { if (world) mark(); };

  function listen() {
    let drag;
    stageBox.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = stageBox.getBoundingClientRect();
      zoom(Math.exp(-event.deltaY * 0.0015), event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
    stageBox.addEventListener("pointerdown", (event) => { drag = { x: event.clientX, y: event.clientY, moved: false }; });
    addEventListener("pointermove", (event) => {
      if (!drag) return;
      const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
      if (!drag.moved && Math.hypot(dx, dy) < 4) return;
      drag.moved = true;
      stageBox.classList.add("dragging");
      camera.x += dx; camera.y += dy;
      drag.x = event.clientX; drag.y = event.clientY;
      apply();
    });
    addEventListener("pointerup", () => { drag = undefined; stageBox.classList.remove("dragging"); });
  }

  function toolbar() {
    const check = (key, text) => el("label", { class: "check" }, el("input", { type: "checkbox", id: `show-${key}`,
      onchange: (event) => { options[key] = event.target.checked; draw(); } }), text);
    return el("div", { class: "bar-row" },
      el("button", { class: "button", id: "open-all", onclick: () => { openAll(true); draw(); fit(false); } }, "Open all"),
      el("button", { class: "button", id: "close-all", onclick: () => { openAll(false); draw(); fit(true); } }, "Close all"),
      check("views", "Views"), check("weights", "Weights"), check("heat", `Colour by ${weightName}`),
      el("span", { class: "spring" }),
      el("div", { class: "legend" }, FAMILIES.filter((f) => f[0] !== "weight" && f[0] !== "view" && D.nodes.some((n) => n.family === f[0]))
        .map((f) => el("span", {}, el("i", { style: `background:${f[2]}` }), f[1]))));
  }

  if (D.nodes.length) addView("graph", "Graph", (view) => {
    view.classList.add("flush");
    world = svg("g");
    const arrow = svg("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 6, markerHeight: 6, orient: "auto" },
      svg("path", { d: "M0 0.8L7 4L0 7.2z", fill: "context-stroke" }));
    stageBox = el("div", { class: "graph fill", onclick: () => select(-1) }, svg("svg", {}, svg("defs", {}, arrow), world),
      el("div", { class: "graph-tools" },
        el("button", { class: "button", title: "Zoom in", onclick: (e) => { e.stopPropagation(); zoom(1.3, stageBox.clientWidth / 2, stageBox.clientHeight / 2); } }, "+"),
        el("button", { class: "button", title: "Zoom out", onclick: (e) => { e.stopPropagation(); zoom(1 / 1.3, stageBox.clientWidth / 2, stageBox.clientHeight / 2); } }, "−"),
        el("button", { class: "button", title: "Whole graph", id: "fit", onclick: (e) => { e.stopPropagation(); fit(true); } }, "Fit")));
    view.append(toolbar(), stageBox);
    openSome(90);
    draw();
    fit(root.h < 2.2 * stageBox.clientHeight);
    listen();
    selection.listeners.push(graph.refresh);
  }, { shown: () => { if (selection.node >= 0) graph.reveal(selection.node); } });
}
