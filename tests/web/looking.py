"""What a page owes everybody, asked of its DOM: names, one heading, no sideways scrolling, contrast."""

from playwright.async_api import Page

# WCAG 2.2, 1.4.3: text of this size.
LEAST_CONTRAST = 4.5

_FAULTS = """
(least) => {
  const faults = [];
  const isShown = (e) => e.checkVisibility({ visibilityProperty: true });
  const labelOf = (e) => [...(e.labels ?? [])].map((l) => l.textContent).join(" ");
  const idsOf = (e, name) => (e.getAttribute(name) ?? "").split(/\\s+/).filter(Boolean);
  const nameOf = (e) => (e.getAttribute("aria-label")
    || idsOf(e, "aria-labelledby").map((id) => document.getElementById(id)?.textContent ?? "").join(" ")
    || labelOf(e) || (e.matches("input, select, textarea") ? "" : e.textContent) || "").trim();
  const say = (what, e) => faults.push(`${what}: ${e.outerHTML.slice(0, 160)}`);

  for (const e of document.querySelectorAll("button, a[href], input, select, textarea, summary, form.act, progress")) {
    if (isShown(e) && nameOf(e) === "") say("no name", e);
  }
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  ids.filter((id, i) => ids.indexOf(id) !== i).forEach((id) => faults.push(`id twice: ${id}`));
  for (const e of document.querySelectorAll("[aria-labelledby], [aria-controls]")) {
    for (const id of [...idsOf(e, "aria-labelledby"), ...idsOf(e, "aria-controls")]) {
      if (document.getElementById(id) === null) say("names nothing", e);
    }
  }
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (wide > 0) faults.push(`${wide} pixels wider than the screen`);

  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const pixel = (colours) => {
    pen.clearRect(0, 0, 1, 1);
    for (const colour of colours) { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); }
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (e) => e === null ? [] : [...behind(e.parentElement), getComputedStyle(e).backgroundColor];
  for (const e of document.body.querySelectorAll("*")) {
    const says = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim() !== "");
    if (!says || !isShown(e) || e.closest("svg, option, :disabled, .unseen, .skip")) continue;
    const ground = behind(e);
    const [a, b] = [light(pixel(ground)), light(pixel([...ground, getComputedStyle(e).color]))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < least) say(`contrast ${ratio.toFixed(2)}`, e);
  }
  return faults;
}
"""


async def faults(page: Page) -> list[str]:
    """Shape: one sentence each."""
    found: list[str] = await page.evaluate(_FAULTS, LEAST_CONTRAST)
    return found
