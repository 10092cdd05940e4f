// The signal, drawn: the layers as a stream that narrows and darkens as the variance falls, with real feature maps in
// it, and the penultimate features as points. The panels of the scope stay what they are. What is shown eases towards what is computed, frame by frame.
const EASE = 0.25; // share of the way that is left, covered in one frame
const NEAR = 0.004; // a distance under which a value has arrived
const ROW = 112, TOP = 18, LANE = 84; // pixels of a variant's row in the stream, of its first line, of the widest stream
const FEW = 22; // most layers that show their feature map
const PLAIN = { dense: "#8a8a8a", pruned: "#d55e00", repaired: "#0072b2" };
const LEGEND = 12; // most classes that are named below the map
const SHAPES = {
  "circle": (c, x, y, r) => { c.moveTo(x + r, y); c.arc(x, y, r, 0, 2 * Math.PI); },
  "square": (c, x, y, r) => c.rect(x - r, y - r, 2 * r, 2 * r),
  "triangle-up": (c, x, y, r) => { c.moveTo(x, y - 1.3 * r); c.lineTo(x + 1.2 * r, y + r); c.lineTo(x - 1.2 * r, y + r); c.closePath(); },
  "diamond": (c, x, y, r) => { c.moveTo(x, y - 1.4 * r); c.lineTo(x + 1.4 * r, y); c.lineTo(x, y + 1.4 * r); c.lineTo(x - 1.4 * r, y); c.closePath(); },
  "triangle-down": (c, x, y, r) => { c.moveTo(x, y + 1.3 * r); c.lineTo(x + 1.2 * r, y - r); c.lineTo(x - 1.2 * r, y - r); c.closePath(); },
};
const GLYPHS = { "circle": "●", "square": "■", "triangle-up": "▲", "diamond": "◆", "triangle-down": "▼" };
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const still = matchMedia("(prefers-reduced-motion: reduce)");

class Signal extends Scope {
  constructor(root) {
    super(root);
    this.now = new Map(); // what is on the screen: numbers by name
    this.goal = new Map(); // what it eases towards
    this.tile = Object.assign(document.createElement("canvas"), { width: 16, height: 16 });
    this.pixels = new Map(); // one picture a size, written anew for every feature map
    this.painted = 0;
    this.find(".choice").onclick = (event) => {
      const button = event.target.closest("button");
      if (button) this.send("image", Number(button.dataset.image));
    };
  }

  close() { super.close(); cancelAnimationFrame(this.frame); }

  update(data, send, fire) {
    data = { portraits: [], groups: [], looks: [], images: [], labels: [], ...data }; // which only these views need
    this.portraits = data.portraits.map((portrait) => ({ ...portrait, maps: Object.fromEntries(Object.entries(portrait.maps).map(([variant, text]) => [variant, bytes(text)])) }));
    this.members = new Map([...new Set(data.groups)].map((group) => [group, [...data.groups.keys()].filter((k) => data.groups[k] === group)]));
    this.root.dataset.portraits = this.portraits.length;
    super.update(data, send, fire);
    const buttons = data.images.map((source, k) => `<button type="button" data-image="${k + 1}" aria-pressed="${k + 1 === data.image}" aria-label="Image ${k + 1}, class ${clean(data.labels[k])}"><img alt="" src="data:image/png;base64,${source}"></button>`).join("");
    this.write(this.find(".choice"), buttons);
    const named = data.classes.length > LEGEND || !data.looks.length ? [] : data.classes.map((name, k) => `<li><span style="color:${data.looks[k][0]}">${GLYPHS[data.looks[k][1]]}</span> ${clean(name)}</li>`);
    this.write(this.find(".legend"), named.join(""));
  }

  get variants() { return this.covered ? VARIANTS.slice(0, 2) : VARIANTS; }

  // The portrait computed nearest to the slider.
  portrait() {
    return this.portraits.reduce((best, next) => (best && Math.abs(best.sparsity - this.value) <= Math.abs(next.sparsity - this.value) ? best : next), null);
  }

  panels(point) {
    super.panels(point);
    if (!this.shows("stream", "features")) return;
    const portrait = this.portrait();
    for (const variant of this.variants)
      this.data.layers.forEach((_, k) => this.aim(`${variant}${k}`, [variant === "dense" ? 1 : point.ratio[variant]?.[k] ?? 0]));
    if (portrait) this.forget((variant) => !(variant in portrait.points));
    for (const variant of Object.keys(portrait?.points ?? {})) this.aim(`points ${variant}`, portrait.points[variant].flat());
    for (const variant of Object.keys(portrait?.maps ?? {})) this.aim(`maps ${variant}`, portrait.maps[variant]);
    this.words(point, portrait);
    this.frame ||= requestAnimationFrame(() => this.paint()); // once a frame, however often the slider reports
  }

  // A variant that is there no more, as without a repair, is drawn no more.
  forget(gone) {
    for (const name of this.goal.keys()) {
      const [, variant] = name.split(" ");
      if (variant && gone(variant)) { this.goal.delete(name); this.now.delete(name); }
    }
  }

  aim(name, values) {
    this.goal.set(name, values);
    if (this.now.get(name)?.length !== values.length) this.now.set(name, Float32Array.from(values));
  }

  // One step of the way; true while there is some left.
  ease() {
    let left = false;
    for (const [name, goal] of this.goal) {
      const now = this.now.get(name), scale = name.startsWith("maps") ? 255 : 1;
      for (let k = 0; k < goal.length; k++) {
        const way = goal[k] - now[k];
        if (way === 0) continue;
        if (still.matches || Math.abs(way) < NEAR * scale) now[k] = goal[k];
        else { now[k] += EASE * way; left = true; }
      }
    }
    return left;
  }

  paint() {
    const left = this.ease();
    if (this.shows("stream")) this.stream();
    if (this.shows("features")) this.features();
    this.painted += 1;
    this.root.dataset.painted = this.painted; // for the frame-rate test
    this.frame = left ? requestAnimationFrame(() => this.paint()) : 0;
  }

  picture(figure) {
    if (!figure.querySelector("canvas")) return super.picture(figure);
    const paper = (this.paper = new Paper());
    this[figure.className]();
    this.paper = null;
    return [paper.markup, paper.width, paper.height];
  }

  // A canvas as wide as its place, sharp on any screen; its drawing context, or the paper that is drawn on instead.
  open(canvas, height) {
    const width = canvas.parentElement.clientWidth - (canvas.parentElement.matches("figure") ? 28 : 0) || 600, ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
      Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    }
    if (this.paper) { this.paper.size(width, height); return [this.paper, width]; }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return [context, width];
  }

  ink() { return getComputedStyle(this.root).color; }

  stream() {
    const variants = this.variants.filter((variant) => variant !== "repaired" || this.data.repaired);
    const [context, width] = this.open(this.find(".stream canvas"), variants.length * ROW + 4);
    const count = this.data.layers.length, ink = this.ink(), x = (k) => ((k + 0.5) / count) * width;
    const chosen = this.data.layers.indexOf(this.data.layer);
    if (chosen >= 0) { context.globalAlpha = 0.1; context.fillStyle = ink; context.fillRect(x(chosen) - width / count / 2, 0, width / count, variants.length * ROW); context.globalAlpha = 1; }
    variants.forEach((variant, row) => {
      const middle = row * ROW + TOP + LANE / 2;
      const values = this.data.layers.map((_, k) => Math.max(0, this.now.get(`${variant}${k}`)?.[0] ?? 0));
      context.fillStyle = ink;
      context.font = `600 12px ${getComputedStyle(this.root).fontFamily}`;
      context.fillText({ dense: "Dense", pruned: "Pruned", repaired: this.data.repair }[variant], 0, row * ROW + 12);
      this.ribbon(context, variant, values, x, width, middle);
      this.maps(context, variant, x, width, middle);
    });
  }

  ribbon(context, variant, values, x, width, middle) {
    const half = (v) => Math.max(0.75, Math.min(1.25, Math.sqrt(v)) * (LANE / 2.5));
    const gradient = context.createLinearGradient(0, 0, width, 0);
    values.forEach((v, k) => {
      const bright = Math.max(0.08, Math.min(1, 1 + Math.log10(Math.max(v, 1e-4)) / 3));
      gradient.addColorStop((k + 0.5) / values.length, PLAIN[variant] + Math.round(225 * bright).toString(16).padStart(2, "0"));
    });
    const at = [[0, values[0]], ...values.map((v, k) => [x(k), v]), [width, values.at(-1)]].map(([px, v]) => [px, half(v)]);
    context.beginPath();
    for (const side of [-1, 1]) {
      const points = side < 0 ? at : [...at].reverse();
      points.forEach(([px, h], k) => {
        if (k === 0) { side < 0 ? context.moveTo(px, middle - h) : context.lineTo(px, middle + h); return; }
        const [before, was] = points[k - 1], between = (before + px) / 2; // a smooth line through the layers' widths
        context.bezierCurveTo(between, middle + side * was, between, middle + side * h, px, middle + side * h);
      });
    }
    context.closePath();
    context.fillStyle = gradient;
    context.fill();
  }

  maps(context, variant, x, room, middle) {
    const levels = this.now.get(`maps ${variant}`), sides = this.data.sides;
    if (!levels || !sides) return;
    const step = room / sides.length;
    const every = Math.max(Math.ceil(sides.length / FEW), Math.ceil(20 / step));
    const size = Math.min(48, step * every * 0.78);
    const tile = this.tile.getContext("2d");
    context.imageSmoothingEnabled = false;
    let from = 0;
    sides.forEach(([height, width], k) => {
      const start = from;
      from += height * width;
      if (k % every) return;
      tile.putImageData(this.grays(levels, start, width, height), 0, 0);
      const left = Math.max(0, Math.min(room - size, x(k) - size / 2));
      context.drawImage(this.tile, 0, 0, width, height, left, middle - size / 2, size, size);
      context.strokeStyle = PLAIN[variant];
      context.strokeRect(left, middle - size / 2, size, size);
    });
  }

  grays(levels, start, width, height) {
    const size = `${width} ${height}`;
    if (!this.pixels.has(size)) {
      const picture = new ImageData(width, height);
      this.pixels.set(size, [picture, new Uint32Array(picture.data.buffer)]);
    }
    const [picture, words] = this.pixels.get(size);
    for (let p = 0; p < words.length; p++) words[p] = 0xff000000 | (Math.round(levels[start + p]) * 0x010101);
    return picture;
  }

  features() {
    const variants = this.variants.filter((variant) => this.now.get(`points ${variant}`)?.length);
    const narrow = this.root.clientWidth < 620, height = narrow ? 24 + this.root.clientWidth / 3.4 : 300;
    const [context, width] = this.open(this.find(".features canvas"), height);
    const wide = width / Math.max(variants.length, 1), size = Math.min(wide, height - 20), { reach, looks } = this.data, ink = this.ink();
    variants.forEach((variant, place) => {
      const points = this.now.get(`points ${variant}`), left = place * wide + (wide - size) / 2, unit = size / 2 / reach;
      const radius = narrow ? 1.8 : 3;
      context.fillStyle = ink;
      context.font = `600 12px ${getComputedStyle(this.root).fontFamily}`;
      context.textAlign = "center";
      context.fillText({ dense: "Dense", pruned: "Pruned", repaired: this.data.repair }[variant], left + size / 2, 12);
      context.textAlign = "start";
      context.globalAlpha = 0.25;
      context.strokeStyle = ink;
      context.strokeRect(left, 18, size, size);
      context.globalAlpha = 0.8;
      for (const [group, members] of this.members) {
        const [color, shape] = looks[group];
        context.beginPath(); // one path a class: filling is what costs
        for (const k of members)
          SHAPES[shape](context, left + size / 2 + unit * Math.max(-reach, Math.min(reach, points[2 * k])), 18 + size / 2 - unit * Math.max(-reach, Math.min(reach, points[2 * k + 1])), radius);
        context.fillStyle = color;
        context.fill();
      }
      context.globalAlpha = 1;
    });
  }

  // The same in words, for those who cannot see it, and which layer is chosen.
  words(point, portrait) {
    const sentences = portrait ? `${this.covered ? "Before the repair." : portrait.answer} At ${Math.round(100 * portrait.sparsity)} % sparsity.` : "Computing …";
    this.find(".features canvas").setAttribute("aria-label", sentences);
    this.find(".features .note").textContent = sentences;
    const measured = point.ratio.pruned.filter((v) => v != null), box = this.find(".stream .layers");
    box.setAttribute("aria-valuenow", this.data.layers.indexOf(this.data.layer) + 1);
    box.setAttribute("aria-valuetext", `${this.data.layer}; pruned ratio from ${this.ratio(measured[0])} in the first layer to ${this.ratio(measured.at(-1))} in the last`);
    this.hover(this.hovered ?? null);
  }

  hover(index) {
    super.hover(index);
    const [point] = this.point();
    if (!point) return;
    const shown = index ?? this.data.layers.indexOf(this.data.layer), name = this.data.layers[shown], portrait = this.portrait();
    const maps = portrait ? `Feature maps: the dense network's strongest channel, at ${Math.round(100 * portrait.sparsity)} % sparsity; gray is its mean, black and white are 3 standard deviations of dense away.` : "Computing feature maps …";
    this.find(".stream .note").textContent = name === undefined ? maps : `${name} (${shown + 1} of ${this.data.layers.length}): ${this.ratiosOf(point, shown)} of dense's variance. ${maps}`;
  }
}
