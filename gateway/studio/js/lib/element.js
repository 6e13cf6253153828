/** The base of all parts: declared properties in, bubbling events out. */

export * from './dom.js';

export class Part extends HTMLElement {
	#changed = new Set();
	#built = false;

	build() {}

	/** At most once a microtask, with the names of the properties that changed. @param {Set<string>} _changed */
	update(_changed) {}

	connectedCallback() {
		if (!this.#built) {
			for (const name of Object.keys(this.constructor.props)) {
				// What was set before the part's file had come lies on the element itself and would hide the property.
				const { [name]: value } = this;
				delete this[name];
				this[name] = value;
				this.#changed.add(name);
			}
			this.#built = true;
			this.build();
		}
		this.#ask();
	}

	emit(type, detail = {}) {
		this.dispatchEvent(new CustomEvent(type, { bubbles: true, detail }));
	}

	/** For the properties only. */
	noteChange(name) {
		this.#changed.add(name);
		this.#ask();
	}

	#asked = false;
	#ask() {
		if (this.#asked || !this.#built || !this.isConnected) return;
		this.#asked = true;
		queueMicrotask(() => {
			this.#asked = false;
			const changed = this.#changed;
			this.#changed = new Set();
			if (changed.size) this.update(changed);
		});
	}
}

/**
 * Register a part. `cls.props` holds each property's first value; setting one to what it is does nothing.
 * @param {string} tag @param {typeof Part} cls
 */
export function define(tag, cls) {
	for (const [name, first] of Object.entries(cls.props)) {
		const values = new WeakMap();
		Object.defineProperty(cls.prototype, name, {
			get() {
				return values.has(this) ? values.get(this) : first;
			},
			set(value) {
				if (this[name] === value) return;
				values.set(this, value);
				this.noteChange(name);
			},
		});
	}
	customElements.define(tag, cls);
}
