// What the page asks of its server. Addresses are relative, so that a gateway may serve the page under a path.

/** A refusal or a failure, with a message for the reader. */
export class ServerError extends Error {}

/** Limits and names of the server. */
export const settings = () => ask("page/settings.json");

/** Categories and attributes that products can be filtered by. */
export const facets = () => ask("facets");

/** Address of a product's picture. */
export const pictureUrl = (id) => `products/${encodeURIComponent(id)}/picture`;

/** The picture of a product as a file. */
export async function picture(id, name, signal) {
  const response = await reach(pictureUrl(id), { signal });
  if (!response.ok) throw new ServerError("This product has no picture to search with.");
  const blob = await response.blob();
  return new File([blob], name, { type: blob.type });
}

/** Products for a query; `roundTrip` is in milliseconds. */
export async function search(body, signal) {
  const started = performance.now();
  const answer = await ask("search", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  return { ...answer, roundTrip: performance.now() - started };
}

async function ask(path, options = {}) {
  const response = await reach(path, options);
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  throw new ServerError(message(response, answer));
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server cannot be reached. Check the connection and try again.");
  }
}

function message(response, answer) {
  const said = typeof answer?.error === "string" ? answer.error : `HTTP ${response.status} ${response.statusText}`.trim();
  const wait = response.headers.get("retry-after");
  if (response.status === 429 || response.status === 503) {
    return `The server is busy (${said}). Try again${wait ? ` in ${wait} s` : ""}.`;
  }
  if (response.status === 504) return `The server took too long (${said}).`;
  return `The server refused the search: ${said}.`.replace(/\.\.$/, ".");
}
