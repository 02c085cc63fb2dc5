// The controls of the course's widgets: native inputs, so that a keyboard and a screen reader can use them.
// One module for all kinds; the kernel holds the state (`at`: index of the chosen option; `values`: heights or bits).
function make(tag, into, attributes = {}, text = "") {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  into.appendChild(node);
  return node;
}

function keep(model, key, value) {
  model.set(key, value);
  model.save_changes();
}

function slider(model, el) {
  const label = make("label", el, { class: "qc-row" });
  make("span", label, { class: "qc-name" }, model.get("name"));
  const input = make("input", label, { type: "range", min: 0, step: 1 });
  const told = make("output", label);
  const say = () => {
    input.max = model.get("options").length - 1;
    input.value = model.get("at");
    told.textContent = model.get("options")[model.get("at")];
    input.setAttribute("aria-valuetext", told.textContent);
  };
  input.addEventListener("input", () => keep(model, "at", Number(input.value)));
  model.on("change:at", say);
  model.on("change:options", say);
  say();
}

function radio(model, el) {
  const group = make("fieldset", el, { class: "qc-radio" });
  make("legend", group, {}, model.get("name"));
  const name = "qc" + Math.random().toString(36).slice(2);
  const inputs = model.get("options").map((option, i) => {
    const label = make("label", group);
    const input = make("input", label, { type: "radio", name });
    make("span", label, {}, option);
    input.addEventListener("change", () => keep(model, "at", i));
    return input;
  });
  const say = () => inputs.forEach((input, i) => { input.checked = i === model.get("at"); });
  model.on("change:at", say);
  say();
}

function bits(model, el) {
  const group = make("div", el, { role: "group", "aria-label": model.get("name"), class: "qc-bits" });
  const flip = (i) => keep(model, "values", model.get("values").map((b, j) => (j === i ? 1 - b : b)));
  const say = () => {
    const [values, shades, names] = ["values", "shades", "options"].map((key) => model.get(key));
    while (group.children.length > values.length) group.lastChild.remove();
    while (group.children.length < values.length) {
      const i = group.children.length;
      make("button", group, { type: "button" }).addEventListener("click", () => flip(i));
    }
    [...group.children].forEach((button, i) => {
      button.className = "qc-bit qc-" + shades[i];
      button.textContent = values[i];
      button.setAttribute("aria-pressed", values[i] === 1);
      button.setAttribute("aria-label", `bit ${values.length - 1 - i}: ${values[i]}` + (names[i] ? `, ${names[i]}` : ""));
    });
  };
  for (const key of ["values", "shades", "options"]) model.on("change:" + key, say);
  say();
}

function sketch(model, el) {
  const [W, H, left, bottom] = [520, 190, 44, 30];
  const svg = make2("svg", el, { viewBox: `0 0 ${W} ${H}`, class: "qc-sketch", role: "group", "aria-label": model.get("name") });
  const xs = model.get("options").map((_, i, all) => left + 20 + (i * (W - left - 40)) / (all.length - 1));
  const y = (v) => 10 + (1 - v) * (H - bottom - 20);
  make2("path", svg, { d: `M${left} 5V${H - bottom}H${W}`, class: "qc-axis" });
  model.get("options").forEach((option, i) => { make2("text", svg, { x: xs[i], y: H - 10, class: "qc-tick" }).textContent = option; });
  const [low, high] = model.get("ends");
  make2("text", svg, { x: left - 6, y: y(0), class: "qc-end" }).textContent = low;
  make2("text", svg, { x: left - 6, y: y(1) + 8, class: "qc-end" }).textContent = high;
  const line = make2("polyline", svg, { class: "qc-line" });
  const put = (i, v) => keep(model, "values", model.get("values").map((old, j) => (j === i ? Math.min(1, Math.max(0, v)) : old)));
  const dots = xs.map((x, i) => {
    const dot = make2("circle", svg, { cx: x, r: 8, tabindex: 0, role: "slider", class: "qc-dot", "aria-valuemin": 0, "aria-valuemax": 100,
      "aria-orientation": "vertical", "aria-label": `${model.get("name")} at ${model.get("options")[i]}` });
    dot.addEventListener("keydown", (event) => {
      const step = { ArrowUp: 0.05, ArrowDown: -0.05, PageUp: 0.2, PageDown: -0.2 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      put(i, model.get("values")[i] + step);
    });
    return dot;
  });
  const draw = (event) => {
    if (!event.buttons) return;
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const nearest = xs.reduce((best, x, i) => (Math.abs(x - at.x) < Math.abs(xs[best] - at.x) ? i : best), 0);
    put(nearest, 1 - (at.y - 10) / (H - bottom - 20));
    event.preventDefault();
  };
  svg.addEventListener("pointerdown", draw);
  svg.addEventListener("pointermove", draw);
  const say = () => {
    const values = model.get("values");
    line.setAttribute("points", values.map((v, i) => `${xs[i]},${y(v)}`).join(" "));
    dots.forEach((dot, i) => {
      dot.setAttribute("cy", y(values[i]));
      dot.setAttribute("aria-valuenow", Math.round(100 * values[i]));
    });
  };
  model.on("change:values", say);
  say();
}

function make2(tag, into, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  into.appendChild(node);
  return node;
}

// JupyterLab takes arrow keys for its own (they choose a cell), unless they do not reach it.
const OURS = new Set(["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "PageUp", "PageDown", "Home", "End", " ", "Enter"]);

function render({ model, el }) {
  el.addEventListener("keydown", (event) => {
    if (OURS.has(event.key) && !event.shiftKey && !event.ctrlKey) event.stopPropagation();
  });
  ({ slider, radio, bits, sketch })[model.get("kind")](model, el);
}

export default { render };
