// Tabs as WAI-ARIA has them: one stop for the Tab key, arrows between them.
const KEYS = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };

// Of all that match `selector`, the Tab key reaches one (the first that matches `chosen`); arrows go to the others.
export function roving(container, selector, chosen) {
  const all = [...container.querySelectorAll(selector)];
  const first = all.find((each) => each.matches(chosen)) ?? all[0];
  for (const each of all) each.tabIndex = each === first ? 0 : -1;
  container.onkeydown = (event) => {
    const at = all.indexOf(event.target);
    if (at < 0 || !(event.key in KEYS)) return;
    event.preventDefault();
    const next = all[Math.min(all.length - 1, Math.max(0, at + KEYS[event.key]))];
    [all[at].tabIndex, next.tabIndex] = [-1, 0];
    next.focus();
  };
}

// `chosen` is called with the kind of each tab that is chosen.
export class Tabs {
  constructor(list, chosen) {
    this.list = list;
    this.tabs = [...list.querySelectorAll("[role=tab]")];
    this.chosen = chosen;
    for (const tab of this.tabs) {
      tab.addEventListener("click", () => this.choose(tab));
      tab.addEventListener("focus", () => this.choose(tab)); // by an arrow
    }
  }

  get kind() {
    return this.tabs.find((tab) => tab.getAttribute("aria-selected") === "true").id.replace("tab-", "");
  }

  open(kind) {
    this.choose(this.tabs.find((tab) => tab.id === `tab-${kind}`) ?? this.tabs[0]);
  }

  choose(chosen) {
    for (const tab of this.tabs) {
      tab.setAttribute("aria-selected", tab === chosen);
      document.getElementById(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
    }
    roving(this.list, "[role=tab]", "[aria-selected=true]");
    this.chosen(this.kind);
  }
}
