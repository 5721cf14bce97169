// Looks at every figure of the page it is appended to; leaves "ok" or the faults in #verdict.
"use strict";

/** Pixels of the figure that are not its background, and those of them that are coloured. */
async function pixels(figure) {
  const copy = figure.cloneNode(true);
  const style = document.createElementNS("http://www.w3.org/2000/svg", "style");
  style.textContent = [...document.querySelectorAll("style")].map((s) => s.textContent).join("\n");
  copy.prepend(style);
  const image = new Image();
  const text = new XMLSerializer().serializeToString(copy);
  image.src = "data:image/svg+xml," + encodeURIComponent(text);
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const middle = (Math.floor(canvas.width / 2) + 2 * canvas.width) * 4;
  let drawn = 0, coloured = 0;
  for (let i = 0; i < data.length; i += 4) {
    const [r, g, b] = [data[i], data[i + 1], data[i + 2]];
    const away = Math.abs(r - data[middle]) + Math.abs(g - data[middle + 1]) + Math.abs(b - data[middle + 2]);
    if (away > 30) drawn += 1;
    if (Math.max(r, g, b) - Math.min(r, g, b) > 40) coloured += 1;
  }
  return { drawn, coloured };
}

/** Labels outside the figure or over each other. */
function misplaced(figure) {
  const frame = figure.getBoundingClientRect();
  const labels = [...figure.querySelectorAll("text")].map((label) => ({
    text: label.textContent.trim(),
    box: label.getBoundingClientRect(),
  }));
  const faults = labels
    .filter(({ box }) => box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1)
    .map(({ text }) => `"${text}" leaves the figure`);
  labels.forEach((a, i) => labels.slice(i + 1).forEach((b) => {
    const width = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
    const height = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
    if (width > 1 && height > 3) faults.push(`"${a.text}" and "${b.text}" overlap`);
  }));
  return faults;
}

async function check() {
  document.querySelectorAll("details").forEach((details) => { details.open = true; });
  const figures = [...document.querySelectorAll("svg.fig")];
  const faults = [];
  if (document.title !== "" && document.querySelector("h1") === null) faults.push("the page has no heading");
  if (figures.length === 0) faults.push("no figure");
  for (const figure of figures) {
    const name = figure.querySelector("title")?.textContent.trim() || "(untitled)";
    const { width, height } = figure.getBoundingClientRect();
    if (width < 200 || height < 50) faults.push(`${name}: only ${width} x ${height} pixels`);
    const { drawn, coloured } = await pixels(figure);
    if (drawn < 200) faults.push(`${name}: blank`);
    const inColour = figure.querySelector(".l0,.l1,.l2,.l3,.l5,.l6,.f0,.f1,.f2,.f3,.f5,.f6");
    if (inColour && coloured < 20) faults.push(`${name}: nothing in colour`);
    faults.push(...misplaced(figure).map((fault) => `${name}: ${fault}`));
  }
  return faults.length ? faults.join("\n") : `ok, ${figures.length} figures`;
}

check()
  .catch((error) => `the probe failed: ${error}`)
  .then((verdict) => { document.getElementById("verdict").textContent = `${verdict}\n`; });
