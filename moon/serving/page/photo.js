// The query photo: read in the browser, shrunk before it is sent, and shown with the core region the server found.

const LONGEST_SIDE = 1280;
const SENT_AS_IS = ["image/jpeg", "image/png", "image/webp"];
const QUALITY = 0.9;
const SHRINK = 0.75;

/**
 * Reads a picture file.
 *
 * A small JPEG, PNG or WebP is sent as it is; anything else becomes an upright JPEG within the limits, without the
 * file's metadata.
 *
 * @returns {{name: string, url: string, canvas: HTMLCanvasElement, note: string}} `url` is a data: URL for the server.
 */
export async function readPhoto(file, { max_image_bytes: maxBytes, max_image_pixels: maxPixels }) {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => {
    throw new Error(`${file.name || "This file"} cannot be read as a picture here. Try a JPEG, PNG or WebP.`);
  });
  const { width, height } = bitmap;
  let scale = Math.min(1, LONGEST_SIDE / Math.max(width, height), Math.sqrt(maxPixels / (width * height)));
  let canvas = draw(bitmap, scale);
  let blob = file;
  if (scale < 1 || file.size > maxBytes || !SENT_AS_IS.includes(file.type)) {
    blob = await jpeg(canvas);
    while (blob.size > maxBytes && canvas.width > 1 && canvas.height > 1) {
      scale *= SHRINK;
      canvas = draw(bitmap, scale);
      blob = await jpeg(canvas);
    }
  }
  bitmap.close();
  const shrunk = blob !== file && scale < 1;
  const sent = `${canvas.width} × ${canvas.height}, ${size(blob.size)}`;
  const note = shrunk ? `${sent} sent, shrunk from ${width} × ${height}, ${size(file.size)}` : sent;
  return { name: file.name || "Pasted photo", url: await dataUrl(blob), canvas, note };
}

/** Draws the core region over the photo in `frame`; returns the region in words. */
export function showRegion(element, region) {
  element.hidden = !region;
  if (!region) return "";
  const { x0, y0, x1, y1 } = region.box;
  const whole = x0 <= 0 && y0 <= 0 && x1 >= region.width && y1 >= region.height;
  element.classList.toggle("whole", whole);
  element.style.left = percent(x0, region.width);
  element.style.top = percent(y0, region.height);
  element.style.width = percent(x1 - x0, region.width);
  element.style.height = percent(y1 - y0, region.height);
  if (whole) return "Core region: the whole photo";
  const share = Math.round((100 * (x1 - x0) * (y1 - y0)) / (region.width * region.height));
  return `Core region: ${share} % of the photo, found by ${region.detector}`;
}

const percent = (part, whole) => `${(100 * part) / whole}%`;

function draw(bitmap, scale) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.floor(bitmap.width * scale));
  canvas.height = Math.max(1, Math.floor(bitmap.height * scale));
  const context = canvas.getContext("2d", { alpha: false });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function jpeg(canvas) {
  return new Promise((resolve, reject) => {
    const done = (blob) => (blob ? resolve(blob) : reject(new Error("This browser could not shrink the photo.")));
    canvas.toBlob(done, "image/jpeg", QUALITY);
  });
}

function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("The photo could not be read."));
    reader.readAsDataURL(blob);
  });
}

const size = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
