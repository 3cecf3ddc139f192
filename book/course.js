// The copy button of a console block takes the commands alone, without the
// prompt and without what they print.
document.addEventListener("click", (event) => {
    const button = event.target.closest("pre .clip-button");
    const code = button?.closest("pre").querySelector("code.language-console");
    if (!code) {
        return;
    }
    event.stopPropagation();
    const tell = (text) => {
        button.firstChild.innerText = text;
        button.classList.add("tooltipped");
    };
    const lines = code.textContent.split("\n").filter((line) => line.startsWith("$ "));
    navigator.clipboard.writeText(lines.map((line) => line.slice(2)).join("\n")).then(
        () => tell("Copied!"),
        () => tell("Clipboard error!"),
    );
}, true);

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
