// Applies the stored colour theme before anything is drawn. A classic script, because modules are deferred.
try {
  const theme = localStorage.getItem("theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch {
  // Without storage there is no stored choice.
}
