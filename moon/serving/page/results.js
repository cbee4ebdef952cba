// The list of products.

import { pictureUrl } from "./api.js";

const PLACEHOLDERS = 12;

/** Shows products; `onLike` is called with the product whose "More like this" was pressed. */
export function showProducts(list, template, products, onLike) {
  list.classList.remove("waiting");
  list.replaceChildren(...products.map((product) => card(template, product, onLike)));
}

/** Shows grey cards, or dims the products of the last search. */
export function showWaiting(list, template) {
  if (list.children.length) {
    list.classList.add("waiting");
    return;
  }
  const empty = Array.from({ length: PLACEHOLDERS }, () => {
    const made = template.content.firstElementChild.cloneNode(true);
    made.classList.add("placeholder");
    made.setAttribute("aria-hidden", "true");
    made.querySelector("button").disabled = true;
    return made;
  });
  list.replaceChildren(...empty);
}

function card(template, product, onLike) {
  const made = template.content.firstElementChild.cloneNode(true);
  if (product.has_picture) showPicture(made.querySelector(".picture svg"), product);
  made.querySelector("h3").textContent = made.querySelector("h3").title = product.title;
  made.querySelector(".path").textContent = product.category_path.join(" › ");
  made.querySelector(".value").textContent = product.score.toFixed(3);
  made.querySelector(".fill").style.width = `${100 * Math.min(1, Math.max(0, product.score))}%`;
  const like = made.querySelector(".like");
  like.setAttribute("aria-label", `More like ${product.title}`);
  like.addEventListener("click", () => onLike(product));
  return made;
}

/** Puts the picture in the place of the icon, which comes back if there is none any more. */
function showPicture(icon, product) {
  const image = new Image();
  image.addEventListener("error", () => image.replaceWith(icon));
  image.loading = "lazy";
  image.decoding = "async";
  image.alt = "";
  image.src = pictureUrl(product.id);
  icon.replaceWith(image);
}
