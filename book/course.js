// What the copy button takes of a block: of a console the commands alone, without
// the prompt and what they print; of a program what it is now, without the lines
// that were taken out.
function worthCopying(code) {
    if (code.matches(".language-console")) {
        const lines = code.textContent.split("\n").filter((line) => line.startsWith("$ "));
        return lines.map((line) => line.slice(2)).join("\n");
    }
    if (code.matches(".program code")) {
        const lines = [...code.children].filter((line) => line.tagName !== "DEL");
        return lines.map((line) => line.textContent).join("");
    }
    return null;
}

document.addEventListener("click", (event) => {
    const button = event.target.closest("pre .clip-button");
    const code = button?.closest("pre").querySelector("code");
    const text = code && worthCopying(code);
    if (!text) {
        return;
    }
    event.stopPropagation();
    const tell = (text) => {
        button.firstChild.innerText = text;
        button.classList.add("tooltipped");
    };
    navigator.clipboard.writeText(text).then(
        () => tell("Copied!"),
        () => tell("Clipboard error!"),
    );
}, true);

// What scrolls sideways fades out where it goes on; a phone shows no scroll bar.
{
    const scrollers = document.querySelectorAll(
        "main :is(.table-wrapper, pre > code, .checkbox-label)",
    );
    const show = (scroller) => {
        const hidden = scroller.scrollWidth - scroller.clientWidth;
        scroller.classList.toggle("more-before", scroller.scrollLeft > 1);
        scroller.classList.toggle("more-after", hidden - scroller.scrollLeft > 1);
    };
    const sizes = new ResizeObserver((changed) => changed.forEach(({ target }) => show(target)));
    for (const scroller of scrollers) {
        scroller.addEventListener("scroll", () => show(scroller), { passive: true });
        sizes.observe(scroller);
    }
    // The fonts that come later make it wider or narrower.
    document.fonts.ready.then(() => scrollers.forEach(show));
}

// Paper is light: a dark theme gives way while the page is printed.
{
    const dark = ["ayu", "coal", "navy"];
    const classes = document.documentElement.classList;
    let put_away = [];
    matchMedia("print").addEventListener("change", (print) => {
        if (print.matches) {
            put_away = dark.filter((theme) => classes.contains(theme));
            put_away.forEach((theme) => classes.replace(theme, "light"));
        } else {
            put_away.forEach((theme) => classes.replace("light", theme));
            put_away = [];
        }
    });
}
