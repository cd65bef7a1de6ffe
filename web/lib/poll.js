// Asking again and again, while somebody looks.

/**
 * Calls a function at once and then so many milliseconds after it has ended, for as long as the page is visible. What
 * it throws is left to whoever shows it; the next call comes all the same.
 *
 * @param {() => Promise<void>} ask
 * @param {number} milliseconds
 * @returns {{now: () => void, stop: () => void}}
 */
export function poll(ask, milliseconds) {
  let timer = 0;
  let asking = false;
  let again = false;
  let stopped = false;
  const run = async () => {
    clearTimeout(timer);
    if (stopped || document.hidden) return;
    if (asking) {
      again = true;
      return;
    }
    asking = true;
    again = false;
    await ask().catch(() => {});
    asking = false;
    if (!stopped) timer = window.setTimeout(run, again ? 100 : milliseconds);
  };
  const look = () => void run();
  document.addEventListener("visibilitychange", look);
  look();
  return {
    now: look,
    stop: () => {
      stopped = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", look);
    },
  };
}
