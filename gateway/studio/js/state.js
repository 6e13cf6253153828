/** One frozen object that says everything the page knows. */

let state = Object.freeze({});
const listeners = [];
let pending = null;

export const get = () => state;

/** Change some of it. Listeners hear of it once, in the next microtask. @param {Object<string, any>} patch */
export function set(patch) {
	const names = Object.keys(patch).filter((name) => !Object.is(state[name], patch[name]));
	if (!names.length) return;
	state = Object.freeze({ ...state, ...patch });
	if (pending) return void names.forEach((name) => pending.add(name));
	pending = new Set(names);
	queueMicrotask(() => {
		const changed = pending;
		pending = null;
		for (const listener of listeners) listener(changed);
	});
}

/** Hear of changes to `keys`. @param {string[]} keys @param {function(Object): void} listener */
export function on(keys, listener) {
	listeners.push((changed) => keys.some((key) => changed.has(key)) && listener(state));
}

/** Hear of changes to whatever `listener` read when it was last called. */
export function watch(listener) {
	let read = null;
	listeners.push((changed) => {
		if (read && [...read].every((key) => !changed.has(key))) return;
		read = new Set();
		listener(new Proxy(state, { get: (of, key) => (read.add(key), of[key]) }));
	});
}
