// The status of the gateway, and the colour theme.

import { byId, setText, set } from "./lib/dom.js";
import { duration } from "./lib/format.js";
import { broker, config, inWords, isDown, components, reach, status } from "./model.js";

const TEXTS = {
  connecting: { short: "connecting", long: "" },
  live: { short: "live", long: "" },
  unreachable: {
    short: "gateway unreachable",
    long: "The gateway is unreachable. Orders in progress continue without it. The dashboard reconnects automatically.",
  },
  "not-ready": {
    short: "not ready",
    long: "The gateway responds, but a dependency is unavailable. It accepts no orders until the dependency is back.",
  },
  "nats-down": {
    short: "NATS unreachable",
    long: "nats-server is unreachable. The gateway accepts no orders and reads nothing until it is back.",
  },
};

/** The displayed state, and since when; 0 if it was the same when the dashboard was opened. */
const shown = { state: "connecting", since: 0 };

/** Shows the status of the gateway and of nats-server. */
export function mountStatus() {
  for (const reading of [reach, broker, components]) reading.watch(show);
  setInterval(show, 1000);
  setText(byId("version"), config.version ? `version ${config.version}` : "");
  mountTheme();
}

/** @returns {keyof typeof TEXTS} */
function current() {
  if (isDown("api-gateway")) return "unreachable";
  if (!reach.isCurrent) return "connecting";
  const { state } = reach.value;
  // Readiness follows after seconds; the state of nats-server is known earlier.
  return state !== "unreachable" && isDown("nats-server") ? "nats-down" : state;
}

function show() {
  const state = current();
  if (shown.state !== state) {
    shown.since = shown.state === "connecting" && !shown.since ? reach.value.since : Date.now();
    shown.state = state;
  }
  const { short, long } = TEXTS[state];
  set(byId("status"), { "data-state": state });
  setText(byId("status-text"), short);
  const banner = byId("banner");
  banner.hidden = !long;
  if (!long) return;
  setText(byId("banner-text"), `${long}${reason(state)}`);
  const seconds = Math.max(1, Math.floor((Date.now() - shown.since) / 1000));
  setText(
    byId("banner-since"),
    shown.since ? `For ${duration(seconds * 1000)}.` : "Since before the dashboard was opened.",
  );
}

/** @param {string} state */
function reason(state) {
  if (state === "not-ready" && reach.value.detail) return ` (${reach.value.detail})`;
  const process = { unreachable: "api-gateway", "nats-down": "nats-server" }[state];
  const known = process && components.isCurrent ? status(process) : "";
  return ["stopped", "paused"].includes(known) ? ` (${process} is ${inWords(known)})` : "";
}

/** Dark, light, or the system's setting. */
function mountTheme() {
  const button = byId("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  /** @param {string | null} theme */
  const apply = (theme) => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    const isDark = theme ? theme === "dark" : dark.matches;
    set(button, { "aria-label": isDark ? "Light colours" : "Dark colours" });
    document.dispatchEvent(new Event("themechange"));
  };
  // `theme.js` has read the stored choice.
  apply(document.documentElement.dataset.theme ?? null);
  dark.addEventListener("change", () => apply(document.documentElement.dataset.theme ?? null));
  button.addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
    const next = now === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("theme", next);
    } catch {
      // Without storage the choice is lost at the next visit.
    }
    apply(next);
  });
}
