import type { Libtorch } from './find-libtorch.mjs';

/** What is known of a built addon. */
export interface AddonRecord {
  readonly schema: 1;
  /** Absolute path of padft.node. */
  readonly addon: string;
  readonly libtorch: Libtorch;
  /** What libtorch called itself when the addon was test-loaded. */
  readonly torch: string;
  readonly sourceHash: string;
  /** The core's own test binary, when it was built, and the sources it was built from. */
  readonly tests: { readonly binary: string; readonly sourceHash: string } | null;
  /** ISO 8601, UTC. */
  readonly builtAt: string;
}

/** The record of the addon in use (build/addon.json), or null. */
export function readAddonRecord(projectRoot: string): AddonRecord | null;

/** Whether the recorded addon is what the sources and this libtorch would give now. */
export function isCurrent(projectRoot: string, record: AddonRecord | null, libtorch: Libtorch): boolean;
