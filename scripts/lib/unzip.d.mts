/** Unpacks the entries `wanted` accepts into `folder`, checking size and CRC-32; resolves to how many. Rejects on damage. */
export function unzip(archive: string, folder: string, wanted: (name: string) => boolean): Promise<number>;
