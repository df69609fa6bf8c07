// Copy buttons. Everything on the site works without this file.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  const text = button.parentElement.querySelector("code, pre").textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Pages opened from a file or over plain http have no clipboard; this older way still works there.
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
});
