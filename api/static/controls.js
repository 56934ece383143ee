// The controls of the page: what to choose from, and what is chosen.

export function fillSelect(select, options, chosen) {
  select.replaceChildren(...options.map(([value, label]) => new Option(label, value, false, value === chosen)));
}

// A list of names to tick; the order of ticking is the order of the names. options: [[id, label, note]]
export function fillPicker(picker, title, options, chosen, atLeast, changed) {
  const summary = picker.querySelector("summary");
  const show = () => {
    const label = new Map(options.map(([id, text]) => [id, text]));
    const names = chosen.map((id) => label.get(id)).join(", ") || "none";
    summary.replaceChildren(Object.assign(document.createElement("b"), { textContent: title }), names);
    summary.title = names;
  };
  picker.querySelector("ul").replaceChildren(...options.map(([id, text, note]) => {
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: chosen.includes(id) });
    box.addEventListener("change", () => {
      if (!box.checked && chosen.length <= atLeast) { box.checked = true; return; }
      chosen = box.checked ? [...chosen, id] : chosen.filter((other) => other !== id);
      show();
      changed(chosen);
    });
    const label = document.createElement("label");
    label.append(box, text);
    if (note) label.append(Object.assign(document.createElement("small"), { textContent: note }));
    const item = document.createElement("li");
    item.append(label);
    return item;
  }));
  show();
}

// Closes an open picker on a click elsewhere and on Escape.
export function closePickersOutside(pickers) {
  document.addEventListener("click", (event) => {
    for (const picker of pickers) if (!picker.contains(event.target)) picker.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") for (const picker of pickers) picker.open = false;
  });
}
