// What this site uses of the theme's behaviour. The theme's own script does far more, for features that are off here,
// and kept a slow phone from answering for a fifth of a second. Everything on the site works without this file.

// Light or dark. What holds at first is decided in the page's header, before anything is painted.
{
  const button = document.querySelector("button.colours"), { dataset } = document.body;
  const bar = document.head.appendChild(Object.assign(document.createElement("meta"), { name: "theme-color" }));
  const show = () => {
    button.setAttribute("aria-pressed", String(dataset.mdColorScheme === "slate"));
    bar.content = getComputedStyle(document.querySelector(".md-header")).backgroundColor;
  };
  button.addEventListener("click", () => {
    dataset.mdColorScheme = dataset.mdColorScheme === "slate" ? "default" : "slate";
    try {
      localStorage.setItem("catalog-colours", dataset.mdColorScheme);
    } catch {} // no storage: the choice lasts as long as the page
    show();
  });
  addEventListener("load", show);
}

// Once the page's heading is out of sight, the header shows it in the place of the site's name.
{
  const heading = document.querySelector(".md-content h1"), title = document.querySelector(".md-header__title");
  const turn = (seen) => {
    const { isIntersecting, boundingClientRect } = seen.at(-1); // the newest, where several came at once
    title.classList.toggle("md-header__title--active", !isIntersecting && boundingClientRect.top < innerHeight / 2);
  };
  if (heading) new IntersectionObserver(turn, { rootMargin: "-50px 0px 0px" }).observe(heading);
}

// Folded parts open for a link that leads into them, and for print.
{
  const unfold = () => {
    const target = document.getElementById(location.hash.slice(1));
    let opened = false;
    for (let box = target?.closest("details"); box; box = box.parentElement.closest("details")) {
      opened ||= !box.open;
      box.open = true;
    }
    if (opened) target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  unfold();
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll(".md-content details:not([open])")];
    for (const box of folded) box.open = true;
  });
  addEventListener("afterprint", () => folded.forEach((box) => (box.open = false)));
}
