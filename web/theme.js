// Before anything is drawn: the colours that were chosen at an earlier visit. A script of its own and no module, because
// modules wait.
try {
  const theme = localStorage.getItem("theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch {
  // Without storage the choice is forgotten.
}
