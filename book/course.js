// The text that the copy button copies. From a console block, it copies only the
// commands, without prompt and output. From a program, it copies all lines except
// the removed lines.
function textToCopy(code) {
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
    const text = code && textToCopy(code);
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

// An element that scrolls sideways fades out at its hidden side, because a phone shows
// no scroll bar.
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
    // When the fonts have loaded, the widths change.
    document.fonts.ready.then(() => scrollers.forEach(show));
}

// A button leads from change to change in the program of a lesson. A reader may scroll
// between two clicks.
{
    const changed = ":is(ins, del):not(.import)";
    const changes = () => [...document.querySelectorAll(`.program code > ${changed}`)]
        .filter((line) => !line.previousElementSibling?.matches(changed));
    if (changes().length > 0) {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "next-change";
        button.textContent = "next change";
        let last;
        button.addEventListener("click", () => {
            const all = changes();
            const top = (line) => line.getBoundingClientRect().top;
            const visible = last && top(last) >= 0 && top(last) < innerHeight;
            const next = visible
                ? all[all.indexOf(last) + 1]
                : all.find((line) => top(line) >= 0);
            last = next ?? all[0];
            last.scrollIntoView({ block: "start" });
        });
        document.body.append(button);
    }
}

// Paper is light: a print of a dark theme uses the light theme.
{
    const dark = ["ayu", "coal", "navy"];
    const classes = document.documentElement.classList;
    let replaced = [];
    matchMedia("print").addEventListener("change", (print) => {
        if (print.matches) {
            replaced = dark.filter((theme) => classes.contains(theme));
            replaced.forEach((theme) => classes.replace(theme, "light"));
        } else {
            replaced.forEach((theme) => classes.replace("light", theme));
            replaced = [];
        }
    });
}
