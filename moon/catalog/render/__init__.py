"""The rendered catalogue: invented products, drawn and described, and a log of who bought what.

``kinds`` says what can be sold, ``products`` invents identities, ``words`` writes about them, ``art`` and the
``draw_*`` modules draw them, ``scene`` photographs them and ``log`` makes shoppers buy them. Everything is a function
of a seed and an index. Array code keeps to integers and ``+ - * / sqrt``, whose results do not depend on the CPU.
"""
