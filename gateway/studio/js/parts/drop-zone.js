/** Drop, choose, paste, or a sample. */

import { button, chooser, define, h, icon, Part } from '../lib/element.js';

const base = new URL('../../samples/', import.meta.url);
const SAMPLES = { 'vase.jpg': 'a vase, a cube and a ball', 'pears.jpg': 'three pears on a board' };

class DropZone extends Part {
	static props = { multiple: false };

	build() {
		const input = chooser((files) => this.emit('pictures-add', { files }), { multiple: this.multiple });
		const samples = Object.entries(SAMPLES).map(([name, words]) => h('button.sample', { label: `Use a sample: ${words}`, onclick: () => this.#sample(name) }, h('img', { src: new URL(name, base).href, alt: '' })));
		const [heading, choose] = this.multiple ? ['Drop pictures here', 'Choose pictures'] : ['Drop a picture here', 'Choose a picture'];
		const hint = `or paste one with ${/Mac|iP/.test(navigator.platform) ? '⌘' : 'Ctrl'} V. Nothing is uploaded before you run.`;
		this.append(h('div.drop', icon('picture', 40), h('h2', heading), h('p.quiet', hint), button('upload', choose, () => input.click(), 'button.main'), h('p.faint', 'Or try a sample'), h('div.samples', samples), input));
	}

	async #sample(name) {
		const answer = await fetch(new URL(name, base));
		if (!answer.ok) return;
		const blob = await answer.blob();
		this.emit('pictures-add', { files: [new File([blob], `sample-${name}`, { type: blob.type })] });
	}
}
define('es-drop-zone', DropZone);
