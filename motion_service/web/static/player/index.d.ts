/** Plays motion of the motion service on a VRM avatar. */
export declare const PLAYER_VERSION = 1;
