"""The colours of A2D2's label files, and two tables of classes."""

COLORS = {
    "#ff0000": "Car 1", "#c80000": "Car 2", "#960000": "Car 3", "#800000": "Car 4",
    "#b65906": "Bicycle 1", "#963204": "Bicycle 2", "#5a1e01": "Bicycle 3", "#5a1e1e": "Bicycle 4",
    "#cc99ff": "Pedestrian 1", "#bd499b": "Pedestrian 2", "#ef59bf": "Pedestrian 3",
    "#ff8000": "Truck 1", "#c88000": "Truck 2", "#968000": "Truck 3",
    "#00ff00": "Small vehicles 1", "#00c800": "Small vehicles 2", "#009600": "Small vehicles 3",
    "#0080ff": "Traffic signal 1", "#1e1c9e": "Traffic signal 2", "#3c1c64": "Traffic signal 3",
    "#00ffff": "Traffic sign 1", "#1edcdc": "Traffic sign 2", "#3c9dc7": "Traffic sign 3",
    "#ffff00": "Utility vehicle 1", "#ffffc8": "Utility vehicle 2",
    "#e96400": "Sidebars", "#6e6e00": "Speed bumper", "#808000": "Curbstone", "#ffc125": "Solid line",
    "#400040": "Irrelevant signs", "#b97a57": "Road blocks", "#000064": "Tractor", "#8b636c": "Non-drivable street",
    "#d23273": "Zebra crossing", "#ff0080": "Obstacles / trash", "#fff68f": "Poles", "#960096": "RD restricted area",
    "#ccff99": "Animals", "#eea2ad": "Grid structure", "#212cb1": "Signal corpus", "#b432b4": "Drivable cobblestone",
    "#ff46b9": "Electronic traffic", "#eee9bf": "Slow drive area", "#93fdc2": "Nature object",
    "#9696c8": "Parking area",
    "#b496c8": "Sidewalk", "#48d1cc": "Ego car", "#c87dd2": "Painted driv. instr.", "#9f79ee": "Traffic guide obj.",
    "#8000ff": "Dashed line", "#ff00ff": "RD normal street", "#87ceff": "Sky", "#f1e6ff": "Buildings",
    "#60458f": "Blurred area", "#352e52": "Rain dirt",
}  # fmt: skip
"""class_list.json of the release (Geyer et al. 2020): colour -> name. Numbers tell apart objects that touch."""

CATEGORIES = {color: name.rstrip(" 1234").lower() for color, name in COLORS.items()}
"""Colour -> category: the same names without numbers, which are 38."""

AS_RELEASED = {
    "road": ("rd normal street", "zebra crossing", "speed bumper", "rd restricted area", "drivable cobblestone",
             "slow drive area"),
    "car": ("car",),
    "bicycle": ("bicycle",),
    "pedestrian": ("pedestrian",),
    "truck": ("truck",),
    "traffic signal": ("traffic signal",),
    "traffic sign": ("traffic sign",),
    "sidewalk": ("sidewalk", "non-drivable street"),
    "nature object": ("nature object",),
    "sky": ("sky",),
    "buildings": ("buildings",),
    "small vehicles": ("small vehicles",),
    "road blocks and grids": ("road blocks", "grid structure"),
    "utility vehicle": ("utility vehicle",),
    "poles and bars": ("poles", "sidebars", "signal corpus"),
    "lane markings": ("solid line", "dashed line", "painted driv. instr."),
    "traffic guide obj.": ("traffic guide obj.",),
    "curbstone": ("curbstone",),
    "rest": ("irrelevant signs", "tractor", "obstacles / trash", "animals", "electronic traffic", "parking area",
             "ego car", "blurred area", "rain dirt"),
}  # fmt: skip
"""The 19 ids that the released code of Best Practices (GCPR 2023) makes of the categories, in their order.

They are neither Cityscapes' classes nor in its order, although that code prints them under Cityscapes' names. `rest` is
trained and scored like every other class.
"""

TABLES = {"a2d2": {name: (name,) for name in dict.fromkeys(CATEGORIES.values())}, "as_released": AS_RELEASED}
"""`dataset.table` -> class -> its categories."""
