// Light or dark: the system's choice until the person makes one.

const system = matchMedia("(prefers-color-scheme: dark)");

const stored = () => { try { return localStorage.getItem("theme"); } catch { return null; } };

export const isDark = () => (stored() ?? (system.matches ? "dark" : "light")) === "dark";

export const perspectiveTheme = () => isDark() ? "Pro Dark" : "Pro Light";

export function watchTheme(button, changed) {
  const show = () => { document.documentElement.dataset.theme = isDark() ? "dark" : "light"; };
  button.addEventListener("click", () => {
    try { localStorage.setItem("theme", isDark() ? "light" : "dark"); } catch { /* private mode: the system's choice stays */ }
    show();
    changed();
  });
  system.addEventListener("change", () => { show(); changed(); });
  show();
}
