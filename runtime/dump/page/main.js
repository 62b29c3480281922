// Tabs, search and theme; starts the page.
{
  const main = document.getElementById("main");
  const tabs = document.getElementById("tabs");
  const search = document.getElementById("search");
  const built = new Map();

  show = (id) => {
    const chosen = VIEWS.find((v) => v.id === id) ?? VIEWS[0];
    if (!built.has(chosen.id)) {
      const view = el("section", { class: "view", id: `view-${chosen.id}`, role: "tabpanel" });
      main.append(view);
      built.set(chosen.id, view);
      chosen.build(view);
    }
    for (const [key, view] of built) view.hidden = key !== chosen.id;
    for (const tab of tabs.children) tab.setAttribute("aria-selected", tab.dataset.view === chosen.id ? "true" : "false");
    hideTip();
    chosen.shown?.();
    if (location.hash !== `#${chosen.id}`) history.replaceState(null, "", `#${chosen.id}`);
  };
  searchFor = (text) => { search.value = text; runSearch(); show("nodes"); };

  function runSearch() {
    table.search(search.value.trim());
    table.hits = new Set(table.rows.map((n) => n.index));
    graph.refresh();
  }

  function theme(name) {
    document.documentElement.dataset.theme = name;
    try { localStorage.setItem("monograph-theme", name); } catch { /* pages from files may have no storage */ }
  }
  function firstTheme() {
    const asked = new URLSearchParams(location.search).get("theme");
    if (asked) return asked;
    try { const kept = localStorage.getItem("monograph-theme"); if (kept) return kept; } catch { /* as above */ }
    return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }

  document.getElementById("module").textContent = D.module;
  document.getElementById("subtitle").textContent = [D.key, D.backend, `Monograph ${D.monograph}`].filter(Boolean).join("  ·  ");
  document.getElementById("subtitle").title = D.key;
  document.getElementById("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  theme(firstTheme());
  for (const v of VIEWS) tabs.append(el("button", { role: "tab", "data-view": v.id, onclick: () => show(v.id) }, v.title));
  search.addEventListener("input", runSearch);
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      show("nodes");
      if (table.rows.length) select(table.rows[0].index);
    } else if (event.key === "Escape") { search.value = ""; runSearch(); search.blur(); }
  });
  addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== search) { event.preventDefault(); search.focus(); }
    if (event.key === "Escape" && document.activeElement !== search) select(-1);
  });
  addEventListener("hashchange", () => show(location.hash.slice(1)));
  show(location.hash.slice(1));
  document.documentElement.dataset.ready = "true";
}
