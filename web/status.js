// Where the gateway stands, and the colours of the page.

import { byId, say, set } from "./lib/dom.js";
import { duration } from "./lib/format.js";
import { config, reach } from "./model.js";

const TEXTS = {
  connecting: { short: "connecting", long: "" },
  live: { short: "live", long: "" },
  away: {
    short: "gateway away",
    long: "The gateway does not answer. What is under way goes on without it; this page tries again by itself.",
  },
  "cut-off": {
    short: "cut off",
    long: "The gateway answers, and something that it needs does not. It takes no orders until that is back; nothing is lost.",
  },
};

/** Shows whether what is seen is what is. */
export function mountStatus() {
  reach.watch(show);
  setInterval(show, 1000);
  say(byId("version"), config.version ? `version ${config.version}` : "");
  mountTheme();
}

function show() {
  const { state, detail, since } = reach.value;
  const { short, long } = TEXTS[state];
  set(byId("status"), { "data-state": state });
  say(byId("status-text"), short);
  const banner = byId("banner");
  banner.hidden = !long;
  if (!long) return;
  say(byId("banner-text"), detail ? `${long} (${detail})` : long);
  say(
    byId("banner-since"),
    `for ${duration(Math.max(1000, Math.floor((Date.now() - since) / 1000) * 1000))}`,
  );
}

/** Dark, light, or as the system has it. */
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
  // `theme.js` has read an earlier choice.
  apply(document.documentElement.dataset.theme ?? null);
  dark.addEventListener("change", () => apply(document.documentElement.dataset.theme ?? null));
  button.addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
    const next = now === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("theme", next);
    } catch {
      // Without storage the choice is forgotten at the next visit.
    }
    apply(next);
  });
}
