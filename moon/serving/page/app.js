// The search page: joins the form, the photo, the filters and the list of products.

import { readAddress, writeAddress } from "./address.js";
import { facets, picture, search, settings } from "./api.js";
import { Filters } from "./filters.js";
import { readPhoto, showRegion } from "./photo.js";
import { showProducts, showWaiting } from "./results.js";

const COUNTS = [12, 24, 48, 96];
const TRIES = 6;

const at = (id) => document.getElementById(id);
const filters = new Filters(at("filter-fields"), () => run());
let limits = null;
let photo = null;
let photoTicket = 0; // number of the photo chosen last
let running = null; // AbortController of the search under way

// ---- the search ----

async function run({ remember = true } = {}) {
  running?.abort();
  const text = at("text").value.trim();
  drawFilterCount();
  if (remember) writeAddress(asked());
  if (!limits?.search) return;
  if (!text && !photo) return showStart();
  const mine = (running = new AbortController());
  at("start").hidden = at("nothing").hidden = at("problem").hidden = true;
  busy(true);
  say("Searching …");
  showWaiting(at("products"), at("product"));
  try {
    const body = { text, image: photo?.url ?? "", k: Number(at("k").value), filters: filters.value };
    showAnswer(await search(body, mine.signal), text);
  } catch (error) {
    if (error.name !== "AbortError") showProblem(error.message);
  } finally {
    if (running === mine) {
      running = null;
      busy(false);
    }
  }
}

function showAnswer(answer, text) {
  const { products, region, latency_ms: took, roundTrip } = answer;
  showProducts(at("products"), at("product"), products, (product) => moreLike(product));
  at("nothing").hidden = products.length > 0;
  if (photo) at("photo-region").textContent = showRegion(at("region"), region);
  const what = [text && `“${text}”`, photo && "your photo"].filter(Boolean).join(" and ");
  say(`${products.length} ${products.length === 1 ? "product" : "products"} for ${what} in ${ms(took.total)}`);
  at("timing").textContent = `embedding ${ms(took.embed)}, index ${ms(took.search)}, round trip ${ms(roundTrip)}`;
}

function showStart() {
  at("products").replaceChildren();
  at("nothing").hidden = at("problem").hidden = true;
  at("start").hidden = false;
  busy(false);
  say("");
}

/** Says what went wrong; what was found before stays unless the search itself failed. */
function showProblem(message, searchFailed = true) {
  if (searchFailed) {
    at("products").replaceChildren();
    at("start").hidden = at("nothing").hidden = true;
  }
  at("problem-text").textContent = message;
  at("again").hidden = !searchFailed;
  at("problem").hidden = false;
  say("");
}

const busy = (is) => (is ? at("found").setAttribute("aria-busy", "true") : at("found").removeAttribute("aria-busy"));

async function moreLike(product) {
  at("text").value = product.has_picture ? "" : product.title;
  at("found").focus();
  scrollTo({ top: 0 });
  if (product.has_picture) return usePhoto(picture(product.id, product.title));
  dropPhoto();
  return run();
}

function say(text) {
  at("status").textContent = text;
  at("timing").textContent = "";
}

const ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
const asked = () => ({ text: at("text").value.trim(), k: chosenCount(), filters: filters.value });

// ---- the photo ----

/** Searches with a picture file, or with the one that a promise gives; the photo chosen last wins. */
async function usePhoto(source) {
  if (!limits?.search) return;
  const ticket = (photoTicket += 1);
  at("problem").hidden = true;
  busy(true);
  say("Reading the photo …");
  try {
    const read = await readPhoto(await source, limits);
    if (ticket !== photoTicket) return;
    photo = read;
  } catch (error) {
    if (ticket !== photoTicket) return;
    busy(false);
    say("");
    showProblem(error.message, false);
    return;
  }
  showPhoto(photo);
  await run();
}

function showPhoto({ canvas, name, note }) {
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Query photo: ${name}`);
  at("frame").querySelector("canvas")?.remove();
  at("frame").prepend(canvas);
  at("region").hidden = true;
  at("photo-name").textContent = name;
  at("photo-note").textContent = note;
  at("photo-region").textContent = "";
  at("photo").hidden = false;
  at("no-photo").hidden = true;
}

function dropPhoto() {
  photoTicket += 1;
  photo = null;
  at("photo").hidden = true;
  at("no-photo").hidden = false;
  at("frame").querySelector("canvas")?.remove();
}

for (const id of ["choose", "take"]) {
  at(id).addEventListener("change", async ({ target }) => {
    const [file] = target.files;
    if (!file) return;
    await usePhoto(file);
    target.value = ""; // the same file may be chosen again
  });
}

at("remove").addEventListener("click", () => {
  dropPhoto();
  at("choose").focus();
  run();
});

addEventListener("paste", (event) => {
  const file = pictureIn(event.clipboardData);
  if (!file) return;
  event.preventDefault();
  usePhoto(file);
});

// A drag enters and leaves every element on its way; it is over the page while more were entered than left.
let entered = 0;
const carriesFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
const veil = (change) => {
  entered = change === 0 ? 0 : Math.max(0, entered + change);
  at("veil").hidden = entered === 0;
};
addEventListener("dragenter", (event) => carriesFile(event) && veil(1));
addEventListener("dragleave", (event) => carriesFile(event) && veil(-1));
addEventListener("dragover", (event) => carriesFile(event) && event.preventDefault());
addEventListener("drop", (event) => {
  if (!carriesFile(event)) return;
  event.preventDefault();
  veil(0);
  const file = pictureIn(event.dataTransfer);
  if (file) usePhoto(file);
  else showProblem("What was dropped is not a picture. Drop a JPEG, PNG or WebP file.", false);
});

const pictureIn = (transfer) => [...(transfer?.files ?? [])].find(({ type }) => type.startsWith("image/"));

// ---- text, filters, count, address ----

at("search").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
at("again").addEventListener("click", () => (limits ? run() : start()));
at("k").addEventListener("change", () => run());
at("clear").addEventListener("click", () => {
  filters.value = { category: [], attributes: {} };
  at("filters").querySelector("summary").focus();
  run();
});
addEventListener("popstate", () => {
  restore();
  run({ remember: false });
});

function drawFilterCount() {
  at("active").textContent = `${filters.size} set`;
  at("active").hidden = at("clear").hidden = filters.size === 0;
}

function restore() {
  const { text, k, filters: kept } = readAddress();
  at("text").value = text;
  filters.value = kept;
  at("k").value = String(k);
  if (!at("k").value) at("k").selectedIndex = 0;
}

const chosenCount = () => (at("k").selectedIndex > 0 ? Number(at("k").value) : 0);

// ---- start ----

function showLimits({ max_top_k: most, max_text_chars: longest }) {
  const counts = COUNTS.filter((count) => count <= most);
  at("k").replaceChildren(...(counts.length ? counts : [most]).map((count) => new Option(count, count)));
  at("text").maxLength = longest;
}

function showTries({ categories }) {
  const leaves = categories.filter(({ path }) => !categories.some((other) => isBelow(other.path, path)));
  const most = leaves.sort((a, b) => b.products - a.products).slice(0, TRIES);
  at("try-title").hidden = most.length === 0;
  at("tries").replaceChildren(...most.map(({ path }) => tryItem(path.at(-1))));
}

function tryItem(text) {
  const item = document.createElement("li");
  const button = Object.assign(document.createElement("button"), { type: "button", className: "button", textContent: text });
  button.addEventListener("click", () => {
    at("text").value = text;
    at("text").focus();
    run();
  });
  item.append(button);
  return item;
}

const isBelow = (path, above) => path.length > above.length && above.every((name, level) => path[level] === name);

async function start() {
  try {
    limits = await settings();
    showLimits(limits);
    if (!limits.search) {
      showProblem("This server was started without a search index, so it finds no products.", false);
      at("go").disabled = at("text").disabled = true;
      at("drop").hidden = at("filters").hidden = true;
      return;
    }
    const found = await facets();
    const { model_name: name, model_revision: revision } = limits;
    at("about").textContent = `${found.products.toLocaleString("en")} products, model ${name} ${revision.slice(0, 8)}`;
    filters.show(found);
    showTries(found);
    at("filters").open = matchMedia("(min-width: 60rem)").matches;
    restore();
    await run({ remember: false });
  } catch (error) {
    limits = null;
    showProblem(error.message);
  }
}

start();
