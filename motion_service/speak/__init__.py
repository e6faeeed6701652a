"""An avatar that talks: phrases and beats of a text, gestures on them, and states without an end, on top of a motion.

``phrases`` and ``beats`` read what is said, ``gestures`` and ``states`` put strokes on a ``score``, ``performance``
holds it all over time, and ``enact`` turns it into rotations of bones. docs/speak.md tells how it looks and why.
"""
