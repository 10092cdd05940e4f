// The signal scope: one slider and every panel that follows it. Draws from the packed sweep while the slider is
// dragged, without a server round trip, and reports the value on release.
const VARIANTS = ["dense", "pruned", "repaired"];
const COLOR = { dense: "var(--dense)", pruned: "var(--pruned)", repaired: "var(--repaired)" };
const DASH = { dense: "2 3", pruned: "6 4", repaired: "none" };
const LOW = 1e-4, HIGH = 3; // fixed range of the variance ratio
const PLOT = 320; // pixels of a panel's height
const THUMB = 11; // half the slider's thumb, so that curve and slider share one axis

const views = new WeakMap();
const clean = (text) => String(text ?? "").replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" }[c]));
// Numbers as reflow_core/numbers.py writes them (a test holds the two together).
const decimal = (value, places) => {
  const text = Math.abs(value).toFixed(places).replace(/\B(?=(\d{3})+(?!\d))(?<!\.\d*)/g, ",");
  return value < 0 && /[1-9]/.test(text) ? `−${text}` : text;
};
const percent = (share) => {
  if (share == null) return "–";
  const text = decimal(100 * share, 1);
  return `${share > 0 && text === "0.0" ? "< 0.1" : share < 1 && text === "100.0" ? "> 99.9" : text}\u00a0%`;
};
const number = (value) => {
  if (value == null) return "–";
  if (value > 0 && value < LOW) return `< ${LOW.toFixed(4)}`;
  const rounded = Number(value.toPrecision(2));
  return decimal(rounded, rounded ? Math.max(0, 1 - Math.floor(Math.log10(Math.abs(rounded)))) : 0);
};
const asShown = (share) => Number((100 * share).toFixed(1)); // as percent() writes it, so that differences add up
const signed = (points) => `${points > 0 && decimal(points, 1) !== "0.0" ? "+" : ""}${decimal(points, 1)}`;
const SCRAMBLED = 60_000; // milliseconds within which what was sent earlier may be handed over later
const same = (a, b) => Math.abs(a - b) < 1e-6;

// The component's entry: one view an element, kept while the page runs again. Which view it is
// is decided where the files are joined (see __init__.py).
const mount = (View) => (component) => {
  const { data, parentElement, setStateValue, setTriggerValue } = component;
  let view = views.get(parentElement);
  if (!view) {
    view = new View(parentElement.querySelector(".scope"));
    views.set(parentElement, view);
  }
  const older = (view.data?.at ?? 0) - data.at;
  if (!(older > 0 && older < SCRAMBLED)) view.update(data, setStateValue, setTriggerValue);
  return () => { view.close(); views.delete(parentElement); };
};

class Scope {
  constructor(root) {
    this.root = root;
    this.find = (selector) => root.querySelector(selector);
    this.slider = this.find("input");
    this.dragging = false;
    this.frames = 0; // how many times the panels were drawn, for the frame-rate test
    this.slider.oninput = () => { this.dragging = true; this.preset = 0; this.draw(); };
    this.slider.onchange = () => this.release();
    root.querySelectorAll(".layers").forEach((plot) => this.listen(plot));
    root.querySelectorAll("figure").forEach((figure) => this.offer(figure));
    this.keys = (event) => this.key(event);
    document.addEventListener("keydown", this.keys);
    this.back = () => this.restore();
    window.addEventListener("popstate", this.back);
    this.watcher = new ResizeObserver(() => { this.widths = new WeakMap(); if (this.data) this.draw(); });
    this.written = new WeakMap(); // to write the same markup again costs as much as to write another
    this.widths = new WeakMap(); // asking for a width between two writes makes the browser lay the page out each time
    this.watcher.observe(root);
  }

  // Layers are chosen by click or arrow keys on the panels that show them in order.
  listen(plot) {
    plot.onclick = (event) => this.choose(this.layerAt(event, plot));
    plot.onmousemove = (event) => this.hover(this.layerAt(event, plot));
    plot.onmouseleave = () => this.hover(null);
    plot.onkeydown = (event) => this.step(event);
  }

  // Every panel can be saved.
  offer(figure) {
    const caption = figure.querySelector("figcaption"), [title, subtitle] = [...caption.childNodes].map((part) => part.textContent.trim());
    const buttons = ["png", "svg"].map((kind) => `<button type="button" data-save="${kind}" aria-label="Save as ${kind.toUpperCase()}: ${title}">${kind.toUpperCase()}</button>`);
    figure.insertAdjacentHTML("beforeend", `<div class="save">${buttons.join("")}</div>`);
    figure.querySelector(".save").onclick = ({ target }) => {
      if (target.dataset.save) save(this.fileName(figure), target.dataset.save, sheet(title, subtitle, this.picture(figure), figure));
    };
  }

  // Model, criterion, the sparsity that is drawn, repair, and the panel.
  fileName(figure) {
    const [before, fixed, repair] = this.data.file;
    return [before, fixed || `${Number((100 * this.root.dataset.shown).toPrecision(4))}pct`, repair, figure.className].join("-");
  }

  // A panel's picture as [markup, width, height].
  picture(figure) { return copied(figure.querySelector("svg")); }

  close() { this.watcher.disconnect(); document.removeEventListener("keydown", this.keys); window.removeEventListener("popstate", this.back); }

  update(data, send, fire) {
    this.data = data;
    this.send = (name, value) => {
      window.dispatchEvent(new Event("reflow:asked")); // a step of the browser's history (steps.js)
      send(name, { value, at: Date.now() }); // the same value may be asked for again, after another was shown
    };
    this.fire = fire;
    this.points = [...data.points, ...(data.exact ? [data.exact] : [])].sort((a, b) => a.sparsity - b.sparsity);
    this.curved = null;
    if (this.sent != null && same(this.sent, data.value)) this.sent = null;
    if (!this.dragging && this.sent == null) this.slider.value = Math.round(100 * data.value);
    if (this.sent == null) {
      if (data.preset !== this.told) this.preset = data.preset;
      this.told = data.preset;
    }
    this.root.dataset.views = data.views.join(" ");
    this.root.classList.toggle("demo", data.demo);
    this.root.classList.toggle("fixed", data.fixed);
    this.slider.disabled = data.fixed;
    this.slider.setAttribute("aria-label", "Sparsity in percent");
    this.root.querySelectorAll(".layers").forEach((plot) => plot.setAttribute("aria-valuemax", data.layers.length));
    this.presetButtons();
    this.draw();
  }

  write(box, markup) {
    if (this.written.get(box) === markup) return;
    this.written.set(box, markup);
    box.innerHTML = markup;
  }

  widthOf(box, otherwise) {
    if (!this.widths.get(box)) this.widths.set(box, box.clientWidth);
    return this.widths.get(box) || otherwise;
  }

  get value() {
    const whole = Number(this.slider.value) / 100;
    return Math.round(100 * this.data.value) === Number(this.slider.value) ? this.data.value : whole;
  }

  // Whether a demo has not come to the repair yet: then nothing gives it away.
  get covered() { return Boolean(this.data.repaired && this.data.presets[this.preset - 1]?.covered); }

  release() {
    this.dragging = false;
    if (!same(this.value, this.data.value)) { this.sent = this.value; this.send("sparsity", this.value); }
    this.draw();
  }

  // Back and Forward take back what was asked for; what the address says comes from the server.
  restore() {
    this.sent = null;
    if (!this.data) return;
    this.slider.value = Math.round(100 * this.data.value);
    this.draw();
  }

  // The point to draw, and where it comes from.
  point() {
    const { value, data } = this;
    if (data.exact && same(value, data.exact.sparsity)) return [data.exact, "exact"];
    const computed = data.points.find((point) => same(point.sparsity, value));
    if (computed) return [computed, computed.preview ? "preview" : "sweep"];
    const near = this.points.reduce((best, p) => (best && Math.abs(best.sparsity - value) <= Math.abs(p.sparsity - value) ? best : p), null);
    return [near, near ? "near" : "wait"];
  }

  draw() {
    this.frames += 1;
    this.root.dataset.frames = this.frames;
    const [point, kind] = this.point();
    this.find(".percent").textContent = `${Number((100 * this.value).toFixed(2))} %`;
    this.root.dataset.shown = point ? point.sparsity : "";
    this.badge(point, kind);
    this.curve();
    if (!point) return;
    this.verdict(point);
    this.cards(point);
    this.panels(point);
  }

  shows(...views) { return views.some((view) => this.data.views.includes(view)); }

  panels(point) {
    if (!this.shows("panels")) return;
    this.ratios(point);
    this.predictions(point);
  }

  badge(point, kind) {
    const busy = (this.sent != null || !this.data.exact) && kind !== "exact";
    const text = { exact: "exact", sweep: "from the sweep", preview: "preview, in bfloat16", near: point ? `nearest computed: ${Math.round(100 * point.sparsity)} %` : "", wait: "computing…" }[kind];
    const badge = this.find(".badge");
    badge.dataset.kind = kind;
    badge.textContent = busy ? `${text} · computing the exact result…` : text;
  }

  verdict(point) {
    const verdict = this.covered ? point.before : point;
    const status = this.find(".status");
    status.dataset.status = verdict.status;
    this.write(status, clean(verdict.status));
    this.write(this.find(".headline"), clean(verdict.headline));
    this.write(this.find(".evidence"), point.evidence.map((line) => `<li>${clean(line)}</li>`).join(""));
  }

  curve() {
    const box = this.find(".curve"), width = this.widthOf(this.slider, 600), height = 84; // a report shows no curve
    const x = (s) => THUMB + (s / 0.99) * (width - 2 * THUMB), y = (v) => 6 + (1 - v) * (height - 12);
    const here = x(this.value), mark = box.querySelector(".here");
    const drawn = `${width} ${this.covered}`;
    if (mark && this.curved === drawn) { mark.setAttribute("x1", here); mark.setAttribute("x2", here); return; }
    this.curved = drawn; // as the present points are drawn
    const lines = VARIANTS.filter((variant) => variant !== "repaired" || !this.covered).map((variant) => {
      const path = this.points.filter((p) => p.score[variant] != null).map((p) => `${x(p.sparsity).toFixed(1)},${y(p.score[variant]).toFixed(1)}`);
      return `<polyline points="${path.join(" ")}" fill="none" stroke="${COLOR[variant]}" stroke-width="2" stroke-dasharray="${DASH[variant]}" stroke-linejoin="round"/>`;
    });
    const previews = this.points.filter((p) => p.preview), count = this.points.length;
    box.setAttribute("aria-label", `${this.data.measure} vs. sparsity, ${count} sparsities computed${previews.length ? `, ${previews.length} of them previews` : ""}`);
    lines.push(...previews.map((p) => `<line class="preview" x1="${x(p.sparsity).toFixed(1)}" x2="${x(p.sparsity).toFixed(1)}" y1="${height - 5}" y2="${height}"><title>preview, in bfloat16</title></line>`));
    box.innerHTML = `<svg height="${height}" viewBox="0 0 ${width} ${height}">
      ${[0, 0.5, 1].map((v) => `<line class="grid" x1="${THUMB}" x2="${width - THUMB}" y1="${y(v)}" y2="${y(v)}"/><text x="${THUMB}" y="${y(v) - 3}">${100 * v} %</text>`).join("")}
      ${this.points.length > 2 ? "" : `<text x="${width / 2}" y="${y(0.25)}" text-anchor="middle">${clean(this.data.measure)} at other sparsities: not computed yet</text>`}
      ${lines.join("")}<line class="one here" x1="${here}" x2="${here}" y1="0" y2="${height}"/></svg>`;
    const marks = [0, 20, 40, 60, 80, 99].map((s) => `<span style="left:${x(s / 100)}px">${s} %</span>`).join("");
    this.write(this.find(".scale"), marks);
  }

  cards(point) {
    const classes = this.data.classes.length;
    const control = this.data.control == null ? "" : `<p title="REFLOW applied to the unpruned network: accuracy should hardly change.">recalibrated ${percent(this.data.control)}</p>`;
    VARIANTS.forEach((variant) => {
      const covered = variant === "repaired" && this.covered;
      const score = covered ? undefined : point.score[variant];
      const title = { dense: "Dense", pruned: "Pruned", repaired: this.data.repair }[variant];
      const card = this.find(`.card.${variant}`), open = `<h3>${clean(title)}</h3>`;
      if (score === undefined) return this.write(card, `${open}<div class="big">${covered ? "?" : "–"}</div><p>${covered ? "press 4" : clean(this.data.reason)}</p>`);
      const change = variant === "dense" ? "" : ` <span class="delta">${signed(asShown(score) - asShown(point.score.dense))} points</span>`;
      const ci = point.ci[variant] ? `95 % interval ${percent(point.ci[variant][0])} to ${percent(point.ci[variant][1])}, n = ${this.data.n}` : `n = ${this.data.n}`;
      this.write(card, `${open}<div class="big">${percent(score)}</div><p>${this.data.measure}${change}</p><p>${ci}</p><p>${decimal(point.effective[variant], 1)} effective classes of ${classes}</p>${variant === "dense" ? control : ""}`);
    });
  }

  ratios(point) {
    const box = this.find(".ratios .plot"), width = this.widthOf(box, 500), height = PLOT, left = 40, bottom = 26, top = 8;
    const count = this.data.layers.length, low = Math.log10(LOW), span = Math.log10(HIGH) - low;
    const x = (i) => left + ((i + 0.5) / Math.max(count, 1)) * (width - left - 4);
    const y = (v) => top + (1 - (Math.log10(Math.min(HIGH, Math.max(LOW, v))) - low) / span) * (height - top - bottom);
    const ticks = [1, 0.1, 0.01, 0.001, 0.0001].map((v) => `<line class="${v === 1 ? "one" : "grid"}" x1="${left}" x2="${width}" y1="${y(v)}" y2="${y(v)}"/><text x="${left - 5}" y="${y(v) + 4}" text-anchor="end">${v}</text>`);
    const chosen = this.data.layers.indexOf(this.data.layer);
    const band = chosen < 0 ? "" : `<rect class="chosen" x="${x(chosen) - (width - left) / count / 2}" width="${(width - left) / count}" y="${top}" height="${height - top - bottom}"/>`;
    const variants = this.covered || !this.data.repaired ? ["pruned"] : ["pruned", "repaired"];
    const series = variants.map((variant) => {
      const values = point.ratio[variant], dots = values.map((v, i) => (v == null ? "" : this.mark(variant, x(i), y(v), v)));
      const path = values.map((v, i) => (v == null ? null : `${x(i).toFixed(1)},${y(v).toFixed(1)}`)).filter(Boolean);
      return `<polyline points="${path.join(" ")}" fill="none" stroke="${COLOR[variant]}" stroke-width="2" stroke-dasharray="${DASH[variant]}"/>${dots.join("")}`;
    });
    const marks = { pruned: "● pruned", repaired: `■ ${clean(this.data.repair)}` };
    const key = variants.map((variant) => `<tspan style="fill:var(--${variant}-ink)">${marks[variant]}</tspan>`).join("  ");
    const measured = point.ratio.pruned.filter((v) => v != null);
    box.setAttribute("aria-valuenow", chosen + 1);
    box.setAttribute("aria-valuetext", `${this.data.layer}; pruned ratio from ${this.ratio(measured[0])} in the first layer to ${this.ratio(measured.at(-1))} in the last`);
    this.write(box, `<svg height="${height}" viewBox="0 0 ${width} ${height}">${band}${ticks.join("")}${series.join("")}
      <text x="${left}" y="${height - 6}">first layer</text><text x="${width}" y="${height - 6}" text-anchor="end">last layer</text><text x="${(left + width) / 2}" y="${height - 6}" text-anchor="middle">${key}</text></svg>`);
    this.hover(this.hovered ?? null);
  }

  mark(variant, x, y, value) {
    const fill = COLOR[variant];
    if (value < LOW) return `<path d="M${x - 5} ${y - 7}h10l-5 8z" fill="${fill}"/>`;
    if (value > HIGH) return `<path d="M${x - 5} ${y + 7}h10l-5 -8z" fill="${fill}"/>`;
    return variant === "pruned" ? `<circle cx="${x}" cy="${y}" r="3.6" fill="${fill}"/>` : `<rect x="${x - 3.2}" y="${y - 3.2}" width="6.4" height="6.4" fill="${fill}"/>`;
  }

  // The share of the predictions that each class gets: a bar a class where there are few, else a row a class.
  predictions(point) {
    const box = this.find(".answers .plot"), width = this.widthOf(box, 500), height = PLOT;
    const variants = VARIANTS.filter((variant) => point.histogram[variant] && !(variant === "repaired" && this.covered));
    this.write(box, `<svg height="${height}" viewBox="0 0 ${width} ${height}">${point.rest ? this.rows(point, variants, width) : this.columns(point, variants, width, height)}</svg>`);
    const words = variants.map((variant) => `${this.titleOf(variant)}: ${decimal(point.effective[variant], 1)} effective classes, ${decimal(point.entropy[variant], 2)} bits, ${point.never[variant]} never predicted`);
    const own = this.data.own == null ? "" : ` The images themselves: ${decimal(this.data.own, 1)} effective classes.`;
    const most = point.rest ? ` ${variants.map((variant) => `${this.titleOf(variant)}: ${point.bars.map((name, k) => `${name} ${percent(point.histogram[variant][k] / this.data.n)}`).join(", ")}`).join("; ")}.` : "";
    box.setAttribute("aria-label", `Predicted classes. ${words.join("; ")}.${own}${most}`);
    const legend = point.rest ? ` Shown: the ${point.bars.length - 1} most predicted classes over all variants.` : " Dotted: an even spread.";
    this.find(".answers .note").textContent = `${words.join(" · ")}.${own}${legend}`;
  }

  titleOf(variant) { return variant === "repaired" ? this.data.repair : variant; }

  heading(variant, x) { return `<text x="${x}" y="12" text-anchor="middle" style="font-weight:600;fill:var(--${variant}-ink)">${clean(this.titleOf(variant))}</text>`; }

  columns(point, variants, width, height) {
    const left = 34, bottom = 26, top = 22, gap = 10, classes = point.bars, total = this.data.n;
    const wide = (width - left - 2 * gap) / 3, y = (v) => top + (1 - v) * (height - top - bottom);
    const ticks = [0, 0.5, 1].map((v) => `<line class="grid" x1="${left}" x2="${width}" y1="${y(v)}" y2="${y(v)}"/><text x="${left - 5}" y="${y(v) + 4}" text-anchor="end">${100 * v} %</text>`);
    const parts = variants.map((variant, index) => {
      const from = left + index * (wide + gap), step = wide / classes.length;
      const bars = point.histogram[variant].map((n, k) => `<rect x="${(from + k * step + step * 0.1).toFixed(2)}" width="${(step * 0.8).toFixed(2)}" y="${y(n / total).toFixed(2)}" height="${(y(0) - y(n / total)).toFixed(2)}" fill="${COLOR[variant]}"/>`);
      const short = classes.every((name) => name.length <= 2) && step > 8;
      const labels = short ? classes.map((name, k) => `<text x="${from + (k + 0.5) * step}" y="${height - 10}" text-anchor="middle">${clean(name)}</text>`) : [`<text x="${from + wide / 2}" y="${height - 10}" text-anchor="middle">${classes.length} classes</text>`];
      return `${bars.join("")}${labels.join("")}${this.heading(variant, from + wide / 2)}`;
    });
    const even = y(1 / classes.length);
    return `${ticks.join("")}${parts.join("")}<line class="one" stroke-dasharray="3 3" x1="${left}" x2="${width}" y1="${even}" y2="${even}"/>`;
  }

  // The same classes in the same rows for every variant; each bar has its number, for most are short.
  rows(point, variants, width) {
    const names = Math.min(150, 0.32 * width), top = 20, step = (PLOT - top - 4) / point.bars.length, gap = 8, room = 46, total = this.data.n, last = point.bars.length - 1;
    const wide = (width - names - 2 * gap) / 3, letters = Math.floor(names / 6.4);
    const cut = (name) => (name.length > letters ? `${name.slice(0, letters - 1)}…` : name);
    const labels = point.bars.map((name, k) => `<text x="${names - 6}" y="${top + (k + 0.68) * step}" text-anchor="end"><title>${clean(name)}</title>${clean(cut(name))}</text>`);
    const parts = variants.map((variant, index) => {
      const from = names + index * (wide + gap);
      const bars = point.histogram[variant].map((n, k) => {
        const long = (n / total) * (wide - room), y = top + k * step;
        return `<rect x="${from.toFixed(2)}" width="${long.toFixed(2)}" y="${(y + 3).toFixed(2)}" height="${step - 6}" fill="${COLOR[variant]}"${k === last ? ' opacity="0.45"' : ""}/><text x="${(from + long + 4).toFixed(2)}" y="${y + 0.68 * step}">${percent(n / total)}</text>`;
      });
      return `<line class="grid" x1="${from}" x2="${from}" y1="${top}" y2="${top + point.bars.length * step}"/>${bars.join("")}${this.heading(variant, from + wide / 2)}`;
    });
    return `${labels.join("")}${parts.join("")}`;
  }

  layerAt(event, plot) {
    const [left, right] = plot.matches(".plot") ? [40, 4] : [0, 0]; // where there is an axis
    const box = plot.getBoundingClientRect(), share = (event.clientX - box.left - left) / (box.width - left - right);
    const index = Math.floor(share * this.data.layers.length);
    return index >= 0 && index < this.data.layers.length ? index : null;
  }

  // A variance ratio in words: far above 1 it is no sign of health.
  ratio(value) { return value > this.data.amplified ? `${number(value)}, amplified` : number(value); }

  hover(index) {
    this.hovered = index;
    const [point] = this.point();
    if (!point) return;
    const shown = index ?? this.data.layers.indexOf(this.data.layer);
    const name = this.data.layers[shown];
    const legend = `▼ below ${LOW}, ▲ above ${HIGH}. Above ${this.data.amplified} a signal is amplified, which is not a sign of health. First ${this.data.probed} images`;
    this.find(".ratios .note").textContent = name === undefined ? legend : `${name} (${shown + 1} of ${this.data.layers.length}): ${this.ratiosOf(point, shown)}. ${legend}.`;
  }

  // A layer's ratios in words, of the variants that there are.
  ratiosOf(point, layer) {
    const repaired = this.data.repaired && !this.covered ? `, ${this.data.repair} ${this.ratio(point.ratio.repaired[layer])}` : "";
    return `pruned ${this.ratio(point.ratio.pruned[layer])}${repaired}`;
  }

  choose(index) { if (index != null && this.data.layers[index] !== this.data.layer) this.send("layer", this.data.layers[index]); }

  step(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    const last = this.data.layers.length - 1;
    this.choose(Math.max(0, Math.min(last, this.data.layers.indexOf(this.data.layer) + move)));
  }

  key(event) {
    if (!this.data?.demo || event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.composedPath()[0];
    if (typing instanceof HTMLElement && typing.matches("input:not([type=range]), textarea, [contenteditable=true]")) return;
    if (event.key >= "1" && event.key <= String(this.data.presets.length)) this.recall(Number(event.key));
    if (event.key === "Escape") this.fire("leave", true);
  }

  presetButtons() {
    const nav = this.find(".presets");
    this.write(nav, this.data.presets.map((preset, i) => `<button type="button" aria-pressed="${this.preset === i + 1}" data-preset="${i + 1}"><kbd>${i + 1}</kbd>${clean(preset.name)}</button>`).join(""));
    nav.onclick = (event) => { const button = event.target.closest("button"); if (button) this.recall(Number(button.dataset.preset)); };
  }

  recall(which) {
    this.preset = which;
    this.sent = this.data.presets[which - 1].sparsity;
    this.slider.value = Math.round(100 * this.sent);
    this.presetButtons();
    this.fire("preset", which);
    this.draw();
  }
}
