// What was fused: each body, who calls it, what carries it out.
if (D.fusions.length) {
  addView("fusions", "Fusions", (view) => {
    view.append(el("div", { class: "figures" },
      el("div", { class: "figure" }, el("b", {}, count(D.fusions.length)), el("span", {}, "different fusions")),
      el("div", { class: "figure" }, el("b", {}, count(D.fusions.reduce((s, f) => s + f.calls.length, 0))), el("span", {}, "calls")),
      el("div", { class: "figure" }, el("b", {}, count(D.fusions.reduce((s, f) => s + f.calls.length * Math.max(0, f.operators.length - 1), 0))), el("span", {}, "operators saved a launch"))));
    for (const f of D.fusions) {
      const launch = D.launches.find((l) => f.calls.includes(l.node));
      view.append(el("div", { class: "card" },
        el("h2", {}, f.name, el("small", {}, `${f.operators.map(shortTarget).join(" → ")}`)),
        launch && el("p", { class: "muted" }, `${launch.implementation ?? launch.kind}${launch.reason ? `: ${launch.reason}` : ""}`),
        el("pre", { class: "text" }, f.text),
        [...new Set(f.calls.map((c) => sourceOf.get(c)).filter(Boolean))].map((s) => el("details", {}, el("summary", {}, s.name), el("pre", { class: "text" }, sourceText(s)))),
        el("p", {}, f.calls.slice(0, 60).map((c) => [el("button", { class: "link mono", onclick: () => select(indexByName.get(c)) }, c), " "]))));
    }
  });
}
