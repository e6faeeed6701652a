/** Plays motion of the motion service on a VRM avatar. */
export const PLAYER_VERSION = 1;
