// Filters: one list a category level, and tick boxes for the values of an attribute.

const SHOWN_VALUES = 8;
const OPEN_ATTRIBUTES = 3;

/** The fields of the filter panel; `onChange` is called after the reader changed one. */
export class Filters {
  constructor(root, onChange) {
    this.root = root;
    this.onChange = onChange;
    this.category = [];
    this.attributes = new Map();
    this.facets = { categories: [], attributes: [] };
    this.levels = element("div", "levels");
  }

  /** Builds the fields for the server's facets. */
  show(facets) {
    this.facets = facets;
    const open = facets.attributes.slice(0, OPEN_ATTRIBUTES).map(({ key }) => key);
    const groups = facets.attributes.map((facet) => this.#attribute(facet, open.includes(facet.key)));
    this.root.replaceChildren(this.levels, ...groups);
    this.#drawLevels();
  }

  /** What `/search` takes. */
  get value() {
    const attributes = Object.fromEntries([...this.attributes].map(([key, values]) => [key, [...values]]));
    return { category: this.category, attributes };
  }

  set value({ category, attributes }) {
    this.category = [...category];
    this.attributes = new Map(Object.entries(attributes).map(([key, values]) => [key, new Set(values)]));
    for (const box of this.root.querySelectorAll("input[type=checkbox]")) {
      box.checked = this.attributes.get(box.name)?.has(box.value) ?? false;
    }
    this.#drawLevels();
  }

  /** Number of filters set. */
  get size() {
    return [...this.attributes.values()].reduce((sum, values) => sum + values.size, this.category.length ? 1 : 0);
  }

  #drawLevels() {
    const chosen = this.category;
    const fields = [];
    for (let level = 0; level <= chosen.length; level += 1) {
      const parent = chosen.slice(0, level);
      const children = this.facets.categories.filter(({ path }) => path.length === level + 1 && starts(path, parent));
      if (!children.length) break;
      fields.push(this.#level(level, children.sort((a, b) => a.path[level].localeCompare(b.path[level]))));
    }
    this.levels.replaceChildren(...fields);
  }

  #level(level, children) {
    const label = element("label", "level");
    label.append(level ? `In ${this.category[level - 1]}` : "Category");
    const select = element("select");
    select.append(new Option(level ? "All of it" : "All categories", ""));
    for (const { path, products } of children) {
      const name = path[level];
      select.append(new Option(`${name} (${products})`, name, false, name === this.category[level]));
    }
    select.addEventListener("change", () => {
      this.category = [...this.category.slice(0, level), ...(select.value ? [select.value] : [])];
      this.#drawLevels();
      this.levels.querySelectorAll("select")[level]?.focus();
      this.onChange();
    });
    label.append(select);
    return label;
  }

  #attribute({ key, values, complete }, open) {
    const group = element("details", "attribute");
    group.open = open;
    const summary = element("summary", "", key);
    const boxes = element("div", "values");
    boxes.setAttribute("role", "group");
    boxes.setAttribute("aria-label", key);
    boxes.append(...values.map(({ value, products }, row) => this.#box(key, value, products, row >= SHOWN_VALUES)));
    group.append(summary, boxes);
    if (values.length > SHOWN_VALUES) {
      const more = element("button", "more", complete ? `Show all ${values.length}` : `Show the ${values.length} most frequent`);
      more.type = "button";
      more.addEventListener("click", () => {
        const hidden = [...boxes.querySelectorAll("label[hidden]")];
        for (const label of hidden) label.hidden = false;
        more.remove();
        hidden[0]?.querySelector("input").focus();
      });
      group.append(more);
    }
    return group;
  }

  #box(key, value, products, hidden) {
    const label = element("label", "value-box");
    label.hidden = hidden && !this.attributes.get(key)?.has(value);
    const box = element("input");
    Object.assign(box, { type: "checkbox", name: key, value, checked: this.attributes.get(key)?.has(value) ?? false });
    box.addEventListener("change", () => {
      const chosen = this.attributes.get(key) ?? new Set();
      if (box.checked) chosen.add(value);
      else chosen.delete(value);
      if (chosen.size) this.attributes.set(key, chosen);
      else this.attributes.delete(key);
      this.onChange();
    });
    label.append(box, element("span", "", value), element("span", "number", String(products)));
    return label;
  }
}

const starts = (path, prefix) => prefix.every((name, level) => path[level] === name);

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}
