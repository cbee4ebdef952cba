// The search in the page's address, so that it can be kept, sent and gone back to. A photo is not part of it.

/** Reads the address; `k` is 0 where it says none. */
export function readAddress() {
  const fields = new URLSearchParams(location.hash.slice(1));
  const attributes = {};
  for (const [name, value] of fields) {
    if (name.startsWith("is.")) (attributes[name.slice(3)] ??= []).push(value);
  }
  return { text: fields.get("q") ?? "", k: Number(fields.get("k")) || 0, filters: { category: fields.getAll("in"), attributes } };
}

/** Writes a search to the address, as a new entry of the history where it differs. */
export function writeAddress({ text, k, filters }) {
  const fields = new URLSearchParams();
  if (text) fields.set("q", text);
  if (k) fields.set("k", String(k));
  for (const name of filters.category) fields.append("in", name);
  for (const [key, values] of Object.entries(filters.attributes)) {
    for (const value of values) fields.append(`is.${key}`, value);
  }
  const address = `#${fields}`;
  if (address !== (location.hash || "#")) history.pushState(null, "", address);
}
