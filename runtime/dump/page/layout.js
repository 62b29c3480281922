// Layered layout of a graph whose nodes lie in nested groups (after Sugiyama): every open group is
// laid out by itself, layer by layer, and is then one box among the items of the group around it.
const GAP = { x: 16, y: 30, pad: 12, title: 22 };

/// Solves min Σ w·(x - want)² with x[i+1] - x[i] ≥ room[i]: adjacent violators are pooled.
function spread(want, weight, room) {
  const blocks = [];
  let shift = 0;
  for (let i = 0; i < want.length; ++i) {
    if (i > 0) shift += room[i - 1];
    let block = { sum: weight[i] * (want[i] - shift), weight: weight[i], size: 1 };
    while (blocks.length && blocks.at(-1).sum / blocks.at(-1).weight > block.sum / block.weight) {
      const last = blocks.pop();
      block = { sum: last.sum + block.sum, weight: last.weight + block.weight, size: last.size + block.size };
    }
    blocks.push(block);
  }
  const out = [];
  shift = 0;
  for (const block of blocks) {
    for (let k = 0; k < block.size; ++k) {
      if (out.length > 0) shift += room[out.length - 1];
      out.push(block.sum / block.weight + shift);
    }
  }
  return out;
}

/// Longest path from the sources; sources then sink towards what they feed. An edge that runs
/// against the order of the items (a group left and entered again) doesn't count.
function rankItems(items, edges) {
  items.forEach((item, i) => { item.position = i; item.rank = 0; item.ins = []; item.outs = []; });
  for (const e of edges) {
    e.forward = e.from.position < e.to.position;
    if (!e.forward) continue;
    e.from.outs.push(e.to);
    e.to.ins.push(e.from);
  }
  for (const item of items) for (const next of item.outs) next.rank = Math.max(next.rank, item.rank + 1);
  for (let i = items.length - 1; i >= 0; --i) {
    const item = items[i];
    if (item.ins.length || !item.outs.length) continue;
    item.rank = Math.max(0, Math.min(...item.outs.map((o) => o.rank)) - 1);
  }
}

/// Items by layer, long edges cut into pieces by points that take part in the ordering. Edges that
/// enter or leave the group run through every layer between its border and their end.
function makeLayers({ items, edges, entries, exits }) {
  const layers = Array.from({ length: Math.max(0, ...items.map((i) => i.rank)) + 1 }, () => []);
  for (const item of items) {
    item.up = [];
    item.down = [];
    layers[item.rank].push(item);
  }
  const spans = edges.reduce((sum, e) => sum + (e.forward ? e.to.rank - e.from.rank : 0), 0);
  for (const e of edges) {
    e.points = [];
    if (!e.forward) continue;
    let last = e.from;
    for (let r = e.from.rank + 1; r < e.to.rank && spans < 12000; ++r) {
      const point = { w: 5, h: 0, rank: r, up: [], down: [], point: true };
      layers[r].push(point);
      e.points.push(point);
      last.down.push(point);
      point.up.push(last);
      last = point;
    }
    last.down.push(e.to);
    e.to.up.push(last);
  }
  const chain = (first, end) => {
    const points = [];
    for (let r = first; r < end; ++r) {
      const point = { w: 5, h: 0, rank: r, up: [], down: [], point: true };
      if (points.length) {
        point.up.push(points.at(-1));
        points.at(-1).down.push(point);
      }
      points.push(point);
      layers[r].push(point);
    }
    return points;
  };
  for (const item of spans < 12000 ? entries.keys() : []) {
    const points = chain(0, item.rank);
    entries.set(item, points);
    if (points.length) { points.at(-1).down.push(item); item.up.push(points.at(-1)); }
  }
  for (const item of spans < 12000 ? exits.keys() : []) {
    const points = chain(item.rank + 1, layers.length);
    exits.set(item, points);
    if (points.length) { points[0].up.push(item); item.down.push(points[0]); }
  }
  return layers;
}

function orderLayers(layers) {
  const number = () => layers.forEach((layer) => layer.forEach((item, i) => { item.at = i; }));
  const sweep = (layer, side) => {
    for (const item of layer) {
      const near = item[side];
      item.key = near.length ? near.reduce((s, n) => s + n.at, 0) / near.length : item.at;
    }
    layer.sort((a, b) => a.key - b.key || a.at - b.at);
    layer.forEach((item, i) => { item.at = i; });
  };
  number();
  for (let round = 0; round < 6; ++round) {
    for (let r = 1; r < layers.length; ++r) sweep(layers[r], "up");
    for (let r = layers.length - 2; r >= 0; --r) sweep(layers[r], "down");
  }
}

function placeLayers(layers) {
  const rooms = layers.map((layer) => layer.slice(1).map((item, i) => {
    const before = layer[i];
    return (before.w + item.w) / 2 + (before.point && item.point ? 8 : GAP.x);
  }));
  for (const layer of layers) {
    let x = 0;
    for (const item of layer) { item.cx = x + item.w / 2; x += item.w + GAP.x; }
    for (const item of layer) item.cx -= x / 2;
  }
  const sweep = (r, sides) => {
    const layer = layers[r];
    const want = layer.map((item) => {
      const near = sides.flatMap((s) => item[s]);
      if (!near.length) return item.cx;
      const pull = (n) => (n.point && !item.point ? 0.08 : 1);  // boxes line up with boxes
      return near.reduce((s, n) => s + pull(n) * n.cx, 0) / near.reduce((s, n) => s + pull(n), 0);
    });
    const weight = layer.map((item) => (item.point ? 1 : 4) * (0.3 + sides.reduce((s, side) => s + item[side].length, 0)));
    spread(want, weight, rooms[r]).forEach((x, i) => { layer[i].cx = x; });
  };
  const rounds = layers.reduce((s, l) => s + l.length, 0) > 3000 ? 4 : 12;
  for (let round = 0; round < rounds; ++round) {
    for (let r = 1; r < layers.length; ++r) sweep(r, ["up"]);
    for (let r = layers.length - 2; r >= 0; --r) sweep(r, ["down"]);
  }
  for (let r = 0; r < layers.length; ++r) sweep(r, ["up", "down"]);
}

/// Sets x, y (top left, within the group) of the items of `group`, and its w and h.
function layoutGroup(group) {
  for (const item of group.items) if (item.group?.open) layoutGroup(item.group);
  for (const item of group.items) {
    if (item.group?.open) { item.w = item.group.w; item.h = item.group.h; }
  }
  const { items, edges } = group;
  rankItems(items, edges);
  const layers = makeLayers(group);
  orderLayers(layers);
  placeLayers(layers);
  const all = layers.flat();
  const left = Math.min(...all.map((i) => i.cx - i.w / 2), 0);
  let y = GAP.pad + (group.depth > 0 ? GAP.title : 0);
  for (const layer of layers) {
    const height = Math.max(0, ...layer.map((i) => i.h));
    const fan = layer.reduce((s, i) => s + i.down.length, 0);
    for (const item of layer) {
      item.x = item.cx - item.w / 2 - left + GAP.pad;
      item.y = y + (height - item.h) / 2;
    }
    y += height + GAP.y + Math.min(26, fan);
  }
  group.w = Math.max(...all.map((i) => i.x + i.w), group.minimum ?? 60) + GAP.pad;
  const last = layers.at(-1) ?? [];
  group.h = Math.max(...last.map((i) => i.y + i.h), 30) + GAP.pad;
}

/// Module path as a list; a number belongs to the name before it: encoder, layer.0, attention.
function segments(path) {
  const out = [];
  for (const part of (path ?? "").split(".").filter(Boolean)) {
    if (/^\d+$/.test(part) && out.length) out[out.length - 1] += `.${part}`;
    else out.push(part);
  }
  return out;
}

/// The tree of modules over all nodes. Chains of groups with nothing else in them become one.
function moduleTree(nodes) {
  const root = { path: "", name: "", depth: 0, groups: new Map(), nodes: [], open: true };
  for (const n of nodes) {
    let group = root;
    for (const name of segments(n.place)) {
      if (!group.groups.has(name)) {
        const path = group.path ? `${group.path}.${name}` : name;
        group.groups.set(name, { path, name, groups: new Map(), nodes: [], open: false });
      }
      group = group.groups.get(name);
    }
    group.nodes.push(n);
  }
  const tidy = (group, depth) => {
    group.depth = depth;
    group.children = [...group.groups.values()].map((child) => {
      while (!child.nodes.length && child.groups.size === 1) {
        const only = [...child.groups.values()][0];
        only.name = `${child.name}.${only.name}`;
        child = only;
      }
      child.parent = group;
      tidy(child, depth + 1);
      return child;
    });
    group.all = group.nodes.concat(...group.children.map((c) => c.all));
  };
  tidy(root, 0);
  return root;
}

/// Fills in items and edges of every open group for the nodes that `options` show.
function arrange(root, options) {
  const hidden = (n) => (n.kind === "get_attr" && !options.weights) || (n.view && !options.views);
  const items = new Map();
  const visit = (group) => {
    group.items = [];
    group.edges = [];
    group.entries = new Map();
    group.exits = new Map();
    for (const n of group.nodes) {
      if (hidden(n)) continue;
      const item = { node: n, parent: group, order: n.index, ...options.measure(n) };
      items.set(n.index, item);
      group.items.push(item);
    }
    for (const child of group.children) {
      if (!child.all.some((n) => !hidden(n))) continue;
      const item = { group: child, parent: group, order: Math.min(...child.all.filter((n) => !hidden(n)).map((n) => n.index)) };
      child.item = item;
      group.items.push(item);
      if (child.open) visit(child);
      else {
        Object.assign(item, options.measureGroup(child));
        for (const n of child.all) items.set(n.index, item);
      }
    }
    group.items.sort((a, b) => a.order - b.order);
  };
  visit(root);
  return { items, links: connect(items, hidden) };
}

/// Edges between what is shown, each kept at the innermost group that holds both ends.
function connect(items, hidden) {
  const memo = new Map();
  const producers = (index) => {
    const n = D.nodes[index];
    if (!hidden(n)) return [index];
    if (!memo.has(index)) memo.set(index, n.kind === "get_attr" ? [] : [...new Set(n.inputs.flatMap(producers))]);
    return memo.get(index);
  };
  const links = new Map();
  for (const n of D.nodes) {
    if (hidden(n)) continue;
    for (const source of new Set(n.inputs.flatMap(producers))) {
      const from = items.get(source), to = items.get(n.index);
      if (!from || !to || from === to) continue;
      const key = `${from.order}>${to.order}`;
      if (!links.has(key)) links.set(key, { from, to, pairs: [] });
      links.get(key).pairs.push([source, n.index]);
    }
  }
  for (const link of links.values()) {
    let a = link.from, b = link.to;
    link.leaves = [];
    link.enters = [];
    while (a.parent !== b.parent) {
      if (a.parent.depth >= b.parent.depth) {
        a.parent.exits.set(a, []);
        link.leaves.push([a.parent, a]);
        a = a.parent.item;
      } else {
        b.parent.entries.set(b, []);
        link.enters.unshift([b.parent, b]);
        b = b.parent.item;
      }
    }
    const known = a.parent.edges.find((e) => e.from === a && e.to === b);
    link.edge = known ?? { from: a, to: b };
    if (!known) a.parent.edges.push(link.edge);
  }
  return [...links.values()];
}
