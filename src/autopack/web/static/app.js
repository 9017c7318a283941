// What the pages do beyond links and forms: say how the stream is, keep what is open open, copy commands, keys of the inbox.
"use strict";

// A region that is drawn again leaves open what the person opened, and chosen what was chosen. Rows of a table are
// exchanged whole: comparing five hundred of them node by node takes ten times as long.
let morph = null;

const keepState = (old, fresh) => {
  for (const field of old.querySelectorAll("input[id]")) {
    const again = field.id && fresh.querySelector(`#${CSS.escape(field.id)}`);
    if (!again) continue;
    if (field.type === "checkbox") again.checked = field.checked;
    else if (field.value !== field.defaultValue) again.value = field.value;
  }
  const opened = old.querySelectorAll("details"), closed = fresh.querySelectorAll("details");
  if (opened.length === closed.length) opened.forEach((each, at) => { closed[at].open = each.open; });
};
const exchange = (old, fresh) => {
  if (old.contains(document.activeElement)) {
    const part = document.createDocumentFragment();
    part.append(fresh);
    morph(old, part, false);
    return old;
  }
  keepState(old, fresh);
  old.replaceWith(fresh);
  return fresh;
};

htmx.registerExtension("autopack", {
  init: (api) => { morph = api.morph; },
  htmx_before_morph_attr: (element, detail) => !(detail.attrName === "open" && element.tagName === "DETAILS"),
  // "rows": those that are there already, and differ. "rowset": all of them, in their order.
  handle_swap: (style, target, fragment) => {
    if (style !== "rows" && style !== "rowset") return false;
    const fresh = [...fragment.children];
    const rows = fresh.map((row) => {
      const old = document.getElementById(row.id);
      if (!old) return row;
      return old.isEqualNode(row) ? old : exchange(old, row);
    });
    if (style === "rowset") {
      const held = document.activeElement?.id;
      target.replaceChildren(...rows);
      if (held && document.activeElement?.id !== held) document.getElementById(held)?.focus({ preventScroll: true });
    }
    return [];
  },
});

const streamState = (text, kind) => {
  const place = document.getElementById("stream-state");
  if (!place || place.dataset.kind === kind) return;
  place.dataset.kind = kind;
  place.textContent = text;
};
document.addEventListener("htmx:sse:after:connection", () => streamState("live", "live"));
document.addEventListener("htmx:sse:error", () => streamState("connection lost, trying again", "lost"));
document.addEventListener("htmx:error", (event) => {
  if (event.target.matches?.("[data-stream]")) {
    streamState("connection lost, trying again", "lost");
    // The very first connection failed, which the extension does not try again: the page is taken anew once a server answers.
    setTimeout(() => htmx.ajax("GET", location.href, { target: "#region", select: "#region", swap: "outerMorph" }), 2000);
  }
});

// How long a redraw takes, for who measures it.
let swapStarted = 0;
document.addEventListener("htmx:before:swap", () => { swapStarted = performance.now(); });
document.addEventListener("htmx:after:swap", () => {
  document.documentElement.dataset.swapMs = (performance.now() - swapStarted).toFixed(1);
  countChosen();
});

// Commands are copied by a click or by Enter.
const copy = (element) => {
  const said = () => { element.dataset.copied = "copied"; setTimeout(() => delete element.dataset.copied, 1500); };
  if (navigator.clipboard && window.isSecureContext) navigator.clipboard.writeText(element.textContent).then(said, () => {});
  else getSelection().selectAllChildren(element);
};
document.addEventListener("click", (event) => {
  const code = event.target.closest?.("code.copy");
  if (code) copy(code);
});

// How many rows are chosen, on the buttons that act on them. Without script the buttons say it after the fact.
const countChosen = () => {
  for (const form of document.querySelectorAll("form[data-counted]")) {
    const boxes = [...document.querySelectorAll(`input[type=checkbox][name=${form.dataset.counted}][form="${form.id}"]`)];
    const count = boxes.filter((box) => box.checked).length;
    for (const button of form.querySelectorAll("button[data-verb]")) {
      const noun = button.dataset.noun + (count === 1 ? "" : "s");
      button.textContent = count ? `${button.dataset.verb} ${count} ${noun}` : `${button.dataset.verb} chosen`;
    }
  }
};
document.addEventListener("change", (event) => {
  const all = event.target.closest?.("input[data-all]");
  if (all) {
    for (const box of document.querySelectorAll(`input[type=checkbox][name=${all.dataset.all}]`)) box.checked = all.checked;
  }
  countChosen();
});

// The inbox by keyboard: j and k move, a approves, r goes to the reason, Escape leaves a field.
const moveInbox = (step) => {
  const items = [...document.querySelectorAll("[data-item]")];
  if (!items.length) return;
  const at = items.findIndex((item) => item.contains(document.activeElement));
  const next = items[at < 0 ? 0 : Math.min(items.length - 1, Math.max(0, at + step))];
  next.focus();
  next.scrollIntoView({ block: "nearest" });
};
document.addEventListener("keydown", (event) => {
  if (!document.querySelector("[data-inbox]") || event.ctrlKey || event.metaKey || event.altKey) return;
  const field = event.target.closest?.("input, textarea, select");
  if (field && field.type !== "checkbox") {
    if (event.key === "Escape") field.closest("[data-item]") ? field.closest("[data-item]").focus() : field.blur();
    if (event.key === "Enter" && field.dataset.reject) {
      event.preventDefault();
      document.getElementById(field.dataset.reject)?.click();
    }
    return;
  }
  const item = event.target.closest?.("[data-item]");
  if (event.key === "j") moveInbox(1);
  else if (event.key === "k") moveInbox(-1);
  else if (event.key === "a" && item) item.querySelector("button[data-approve]")?.click();
  else if (event.key === "r" && item) item.querySelector("[data-reason]")?.focus();
  else return;
  event.preventDefault();
});
