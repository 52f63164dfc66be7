// An element with some properties.
export const made = (tag, properties) => Object.assign(document.createElement(tag), properties);
