// One step of the browser's history for every change that a person makes, no more, no less.
//
// Streamlit 1.67 itself replaces the address where one of its controls was changed (no step at all), and adds a step for
// every parameter that the server sets or drops (up to eight for one change of the page). Here what a person asks for is
// a step, and whatever else comes of it belongs to that step.
const ASKED = "reflow:asked"; // sent by a component whose value the server will put into the address

function install() {
  const push = history.pushState.bind(history), replace = history.replaceState.bind(history);
  let asked = false; // whether a person did something since the last step
  const ask = (event) => { if (event.isTrusted || event.type === ASKED) asked = true; };
  for (const type of ["pointerup", "keydown", ASKED]) window.addEventListener(type, ask, true);
  window.addEventListener("click", (event) => { if (!event.detail) ask(event); }, true); // which nothing was pressed for
  window.addEventListener("popstate", () => { asked = false; }, true); // what follows belongs to the step that was restored
  const write = (own) => (state, title, url) => {
    const elsewhere = url != null && new URL(url, location.href).href !== location.href;
    const step = elsewhere && (asked || own(url));
    if (elsewhere) asked = false;
    (step ? push : replace)(state, title, url);
  };
  history.pushState = write(() => false);
  history.replaceState = write((url) => /^https?:/.test(url)); // whole only where a control was changed by hand
}

export default () => {
  if (window.reflowSteps) return;
  window.reflowSteps = true;
  install();
};
