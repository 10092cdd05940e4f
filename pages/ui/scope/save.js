// A panel as a file. What is drawn as SVG is copied with the colors it has on the screen; what is drawn on a canvas is
// drawn once more, on a context that writes SVG. A PNG is that SVG at twice its size.
const MARGIN = 14, HEADING = 44; // pixels around the picture, and for its title
const STYLED = ["fill", "stroke", "stroke-width", "stroke-dasharray", "font-family", "font-size", "font-weight"];
const pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const hex = (level) => level.toString(16).padStart(2, "0");

// Any CSS color as "#rrggbb" and an opacity, which every program reads.
function plain(color) {
  if (!color || color === "none") return ["none", 1];
  pixel.clearRect(0, 0, 1, 1);
  pixel.fillStyle = color;
  pixel.fillRect(0, 0, 1, 1);
  const [red, green, blue, opacity] = pixel.getImageData(0, 0, 1, 1).data;
  return opacity ? [`#${hex(red)}${hex(green)}${hex(blue)}`, opacity / 255] : ["none", 1];
}

// The part of CanvasRenderingContext2D that the lab draws with.
class Paper {
  constructor() {
    Object.assign(this, { parts: [], defs: [], path: "", globalAlpha: 1, fillStyle: "#000", strokeStyle: "#000", font: "12px sans-serif", textAlign: "start" });
  }

  size(width, height) { Object.assign(this, { width, height }); }
  beginPath() { this.path = ""; }
  moveTo(x, y) { this.path += `M${x} ${y}`; }
  lineTo(x, y) { this.path += `L${x} ${y}`; }
  bezierCurveTo(...points) { this.path += `C${points.join(" ")}`; }
  closePath() { this.path += "Z"; }
  rect(x, y, width, height) { this.path += `M${x} ${y}h${width}v${height}h${-width}Z`; }
  arc(x, y, radius) { this.path += `M${x + radius} ${y}a${radius} ${radius} 0 1 1 ${-2 * radius} 0a${radius} ${radius} 0 1 1 ${2 * radius} 0Z`; } // whole circles only
  fill() { this.parts.push(`<path d="${this.path}" ${this.ink("fill", this.fillStyle)}/>`); }
  fillRect(x, y, width, height) { this.parts.push(`<rect x="${x}" y="${y}" width="${width}" height="${height}" ${this.ink("fill", this.fillStyle)}/>`); }
  strokeRect(x, y, width, height) { this.parts.push(`<rect x="${x}" y="${y}" width="${width}" height="${height}" fill="none" ${this.ink("stroke", this.strokeStyle)}/>`); }

  fillText(text, x, y) {
    const anchor = this.textAlign === "center" ? "middle" : "start";
    this.parts.push(`<text x="${x}" y="${y}" text-anchor="${anchor}" style="font:${clean(this.font)}" ${this.ink("fill", this.fillStyle)}>${clean(text)}</text>`);
  }

  drawImage(source, left, top, width, height, x, y, wide, high) {
    const cut = Object.assign(document.createElement("canvas"), { width, height });
    cut.getContext("2d").drawImage(source, left, top, width, height, 0, 0, width, height);
    this.parts.push(`<image href="${cut.toDataURL()}" x="${x}" y="${y}" width="${wide}" height="${high}" preserveAspectRatio="none" style="image-rendering:pixelated"/>`);
  }

  createLinearGradient(x1, y1, x2, y2) {
    const stops = [], id = `gradient${this.defs.length}`;
    this.defs.push({ id, at: `x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"`, stops });
    return { id, addColorStop: (offset, color) => stops.push([offset, ...plain(color)]) };
  }

  ink(name, color) {
    const [shade, opacity] = color.id ? [`url(#${color.id})`, 1] : plain(color);
    return `${name}="${shade}" ${name}-opacity="${opacity * this.globalAlpha}"`;
  }

  get markup() {
    const stop = ([offset, color, opacity]) => `<stop offset="${offset}" stop-color="${color}" stop-opacity="${opacity}"/>`;
    const defs = this.defs.map(({ id, at, stops }) => `<linearGradient id="${id}" gradientUnits="userSpaceOnUse" ${at}>${stops.map(stop).join("")}</linearGradient>`);
    return `<defs>${defs.join("")}</defs>${this.parts.join("")}`;
  }
}

// An SVG of the page with the colors and fonts that its style sheet gives it: [markup, width, height].
function copied(svg) {
  const copy = svg.cloneNode(true), originals = svg.querySelectorAll("*");
  copy.querySelectorAll("*").forEach((element, place) => {
    const style = getComputedStyle(originals[place]);
    for (const name of STYLED) {
      const value = style.getPropertyValue(name);
      if (name !== "fill" && name !== "stroke") { element.setAttribute(name, value); continue; }
      const [color, opacity] = plain(value);
      element.setAttribute(name, color);
      element.setAttribute(`${name}-opacity`, opacity);
    }
    element.removeAttribute("class");
    element.removeAttribute("style");
  });
  return [copy.innerHTML, svg.clientWidth, svg.clientHeight];
}

// The whole file: background, title, what is shown, picture.
function sheet(title, subtitle, [markup, width, height], figure) {
  const style = getComputedStyle(figure), [background] = plain(style.getPropertyValue("--st-background-color"));
  const line = (y, size, weight, text) => `<text x="${MARGIN}" y="${MARGIN + y}" font-family="${clean(style.fontFamily)}" font-size="${size}" font-weight="${weight}" fill="${plain(style.color)[0]}">${clean(text)}</text>`;
  const wide = width + 2 * MARGIN, high = height + 2 * MARGIN + HEADING;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${wide}" height="${high}" viewBox="0 0 ${wide} ${high}"><title>${clean(title)}</title>
    <rect width="100%" height="100%" fill="${background}"/>${line(12, 15, 600, title)}${line(30, 11, 400, subtitle)}
    <g transform="translate(${MARGIN} ${MARGIN + HEADING})">${markup}</g></svg>`;
}

async function rasterized(svg) {
  const image = new Image();
  image.src = `data:image/svg+xml,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: 2 * image.width, height: 2 * image.height });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

async function save(name, kind, svg) {
  const file = kind === "svg" ? new Blob([svg], { type: "image/svg+xml" }) : await rasterized(svg);
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(file), download: `${name}.${kind}` });
  link.click();
  URL.revokeObjectURL(link.href);
}
