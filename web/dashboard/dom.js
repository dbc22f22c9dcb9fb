// Small helpers over the document.

export const $ = (id) => document.getElementById(id);

// el makes an element with properties, attributes (those with a dash, and role) and children.
export function el(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) {
    if (k.includes('-') || k === 'role' || k === 'for') e.setAttribute(k, v);
    else e[k] = v;
  }
  e.append(...children);
  return e;
}

// put sets a text, if it is another one.
export function put(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

// attr sets an attribute, if it is another one; null takes it away.
export function attr(e, name, value) {
  if (value === null) e.removeAttribute(name);
  else if (e.getAttribute(name) !== String(value)) e.setAttribute(name, value);
}

// color is a colour of the style sheet.
export const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export const darkScheme = matchMedia('(prefers-color-scheme: dark)');
