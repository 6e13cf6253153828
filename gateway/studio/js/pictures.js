/** Files to pictures: refused by name, measured upright, shown from object URLs. */

import { api } from './api.js';

const KINDS = /^image\/(jpeg|png|webp|gif|bmp|tiff|avif|heic|heif)$/;
const NAMES = /\.(jpe?g|png|webp|gif|bmp|tiff?|avif|hei[cf])$/i;
const LOADS_AT_ONCE = 3;
const THUMBNAIL_PX = 320;

export const sizeLabel = (size) => `${size.width} × ${size.height}`;

const megabytes = (bytes) => `${Math.round((bytes / 1024 / 1024) * 10) / 10} MB`;

/** `small`: its object URL shows a small one. @returns {Promise<{picture: Object} | {refused: string}>} */
export async function open(file, limits, { small = false } = {}) {
	// As long as the limits are not known, the service itself refuses.
	const most = limits ?? {};
	const name = file.name || 'pasted picture';
	if (!KINDS.test(file.type) && !NAMES.test(name)) return { refused: `${name} is not a picture. JPEG, PNG, WebP, AVIF and others are.` };
	if (file.size > most.image_max_bytes) return { refused: `${name} has ${megabytes(file.size)}; at most ${megabytes(most.image_max_bytes)} are taken.` };
	let bitmap;
	try {
		bitmap = await createImageBitmap(file);
	} catch {
		return { refused: `${name} cannot be shown here: it is damaged, or of a kind that this browser does not know.` };
	}
	const { width, height } = bitmap;
	const shown = small ? await shrunk(bitmap) : file;
	bitmap.close();
	if (width * height > most.image_max_pixels) return { refused: `${name} has ${Math.round((width * height) / 1e6)} megapixels; at most ${most.image_max_pixels / 1e6} are taken.` };
	if (Math.max(width, height) > most.image_max_side) return { refused: `${name} is ${sizeLabel({ width, height })}; at most ${most.image_max_side} a side are taken.` };
	return { picture: { file, name, width, height, url: URL.createObjectURL(shown) } };
}

export const close = (picture) => picture?.url && URL.revokeObjectURL(picture.url);

let loading = 0;
const waiting = [];

async function inTurn(load) {
	if (loading >= LOADS_AT_ONCE) await new Promise((go) => waiting.push(go));
	loading += 1;
	try {
		return await load();
	} finally {
		loading -= 1;
		waiting.shift()?.();
	}
}

/** Object URLs of the service's pictures; the oldest are let go. */
class Shelf {
	#urls = new Map();
	#coming = new Map();

	constructor(most, fetchOne) {
		this.most = most;
		this.fetchOne = fetchOne;
	}

	async url(id, which) {
		const name = `${id}/${which}`;
		const known = this.#urls.get(name);
		if (known) {
			this.#urls.delete(name);
			this.#urls.set(name, known);
			return known;
		}
		if (!this.#coming.has(name)) this.#coming.set(name, this.#load(id, which, name).finally(() => this.#coming.delete(name)));
		return this.#coming.get(name);
	}

	async #load(id, which, name) {
		const url = URL.createObjectURL(await inTurn(() => this.fetchOne(id, which)));
		this.#urls.set(name, url);
		if (this.#urls.size > this.most) this.#drop(this.#urls.keys().next().value);
		return url;
	}

	forget(id) {
		for (const name of this.#urls.keys()) if (name.startsWith(`${id}/`)) this.#drop(name);
	}

	#drop(name) {
		URL.revokeObjectURL(this.#urls.get(name));
		this.#urls.delete(name);
	}
}

export const stagePictures = new Shelf(8, (id, which) => api.picture(id, which));

export const thumbnails = new Shelf(400, async (id, which) => {
	const made = which === 'result' && (await api.picture(id, 'thumbnail').catch(() => null));
	return made || shrunk(await createImageBitmap(await api.picture(id, which)));
});

function shrunk(bitmap) {
	const scale = Math.min(1, THUMBNAIL_PX / bitmap.width);
	const canvas = new OffscreenCanvas(Math.ceil(bitmap.width * scale), Math.ceil(bitmap.height * scale));
	canvas.getContext('2d').drawImage(bitmap, 0, 0, canvas.width, canvas.height);
	return canvas.convertToBlob({ type: 'image/webp', quality: 0.8 });
}

const seen = new IntersectionObserver(
	(entries) => {
		for (const { isIntersecting, target } of entries) {
			if (!isIntersecting) continue;
			seen.unobserve(target);
			target.loadThumbnail();
		}
	},
	{ rootMargin: '200px' },
);

/** Shown once it scrolls into view. */
export function showWhenSeen(image, id, which) {
	const wanted = `${id}/${which}`;
	if (image.dataset.shows === wanted) return;
	image.dataset.shows = wanted;
	image.loadThumbnail = async () => {
		// Where it does not come it is asked for anew with the next news.
		const url = await thumbnails.url(id, which).catch(() => delete image.dataset.shows && null);
		if (url && image.dataset.shows === wanted) image.src = url;
	};
	seen.unobserve(image);
	seen.observe(image);
}

export function save(blob, name) {
	const url = URL.createObjectURL(blob);
	Object.assign(document.createElement('a'), { href: url, download: name }).click();
	setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
