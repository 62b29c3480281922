// The dump's data, and helpers that every view uses. Text from the dump only ever reaches the page
// through text nodes and attributes, never as markup.
const D = JSON.parse(document.getElementById("data").textContent);
D.nodes ??= [];
D.launches ??= [];
D.stages ??= [];
D.fusions ??= [];
D.passes ??= [];

const SVG = "http://www.w3.org/2000/svg";
function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const group3 = new Intl.NumberFormat("en-US");
const count = (n) => group3.format(n);
const plural = (n, word, many = `${word}s`) => `${count(n)} ${n === 1 ? word : many}`;
function scaled(value, units, step) {
  let i = 0;
  while (Math.abs(value) >= step && i + 1 < units.length) { value /= step; ++i; }
  const digits = i === 0 && Number.isInteger(value) ? 0 : value < 10 ? 2 : value < 100 ? 1 : 0;
  return `${value.toFixed(digits)} ${units[i]}`;
}
const bytes = (n) => n === undefined ? "" : scaled(n, ["B", "KiB", "MiB", "GiB", "TiB"], 1024);
const flop = (n) => n === undefined ? "" : scaled(n, ["", "K", "M", "G", "T", "P"], 1000).trim();
const micros = (us) => us === undefined ? "" : scaled(us, ["µs", "ms", "s"], 1000);
const millis = (ms) => ms === undefined ? "" : micros(ms * 1000);
const percent = (part, whole) => whole > 0 ? `${(100 * part / whole).toFixed(1)} %` : "";

// What kind of work an operator is: decides its colour everywhere.
const FAMILIES = [
  ["matmul", "Matrix product", "#3b7dd8", /linear|\bmm\b|bmm|matmul|addmm|conv|einsum|gemm/],
  ["attention", "Attention", "#8b5cf6", /attention|sdpa/],
  ["norm", "Normalisation", "#0f9f8f", /norm/],
  ["fusion", "Fusion", "#d9468f", /^fusion\./],
  ["reduce", "Reduction", "#c2760c", /softmax|sum|mean|amax|amin|argmax|max\.dim|cumsum|pool|topk|sort/],
  ["gather", "Lookup and copy", "#5f7a94", /embedding|gather|index|copy|clone|contiguous|cat|stack|scatter|slice|select|pad|arange|zeros|ones|full|empty|fill/],
  ["view", "View", "#a8b3c4", /^$/],
  ["io", "Input and output", "#475569", /^$/],
  ["weight", "Weight", "#94a3b8", /^$/],
  ["pointwise", "Element by element", "#d99a1b", /./],
];
function familyOf(node) {
  if (node.kind === "placeholder" || node.kind === "output") return "io";
  if (node.kind === "get_attr") return "weight";
  if (node.view) return "view";
  return FAMILIES.find((f) => f[3].test(node.target))[0];
}
const COLOR = Object.fromEntries(FAMILIES.map((f) => [f[0], f[2]]));
const operator = (n) => n.kind === "call_function" ? shortTarget(n.target) : n.kind;
const shortTarget = (t) => t.replace(/^aten\./, "").replace(/\.(default|Tensor|Scalar|int)$/, "");

// Facts that follow from the dump: who uses whom, which launch runs what.
const indexByName = new Map(D.nodes.map((n, i) => [n.name, i]));
D.nodes.forEach((n, i) => { n.index = i; n.inputs ??= []; n.users = []; n.family = familyOf(n); });
for (const n of D.nodes) for (const i of n.inputs) D.nodes[i].users.push(n.index);
// Weights are drawn with what reads them first.
for (const n of D.nodes) n.place = n.module ?? (n.kind === "get_attr" ? D.nodes[n.users[0]]?.module : undefined);
for (const n of D.nodes) {
  const launch = n.launch === undefined ? undefined : D.launches[n.launch];
  n.how = launch ? (launch.implementation || launch.kind) : n.view ? "view" : "";
  n.hay = [n.name, n.target, n.type, n.module, n.source, n.how].join(" ").toLowerCase();
}
const sourceOf = new Map((D.sources ?? []).flatMap((s) => s.nodes.map((name) => [name, s])));
const sourceText = (s) => s.text ?? `Too long for this page: see kernels/${s.name}`;
const nodeText = (n) => n.line === undefined ? "" : D.lines[n.line].trim();
const timed = D.nodes.some((n) => n.measured_us !== undefined);
const predicted = D.nodes.some((n) => n.predicted_us !== undefined);
const weightOf = timed ? (n) => n.measured_us ?? 0
  : predicted ? (n) => n.predicted_us ?? 0 : (n) => n.moved ?? 0;
const weightName = timed ? "measured time" : predicted ? "predicted time" : "bytes moved";
const weightText = timed || predicted ? micros : bytes;
const totalWeight = D.nodes.reduce((sum, n) => sum + weightOf(n), 0);

const tip = document.getElementById("tip");
function showTip(event, ...lines) {
  tip.replaceChildren(...lines.filter(Boolean).map((l) => el("div", {}, l)));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(6, Math.min(event.clientX + 14, innerWidth - box.width - 8))}px`;
  tip.style.top = `${Math.max(6, Math.min(event.clientY + 16, innerHeight - box.height - 8))}px`;
}
const hideTip = () => { tip.hidden = true; };

// Views register themselves; a view is built when it is first shown.
const VIEWS = [];
const addView = (id, title, build, options = {}) => VIEWS.push({ id, title, build, ...options });

// Set by main.js: shows a view, or the table of what a search finds.
let show, searchFor;

// One node is selected at a time, in every view.
const selection = { node: -1, listeners: [] };
function select(index) {
  selection.node = index;
  for (const listener of selection.listeners) listener(index);
}
