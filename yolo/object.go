package yolo

// An Object is one thing found in a picture. Mask, Keypoints and Rotated are set
// by the tasks that give them: segment, pose and obb.
type Object struct {
	Class      int
	Name       string // from the model's labels, or the class number when there is none
	Confidence float32
	Box        Box // of a rotated box the smallest upright one around it, which may leave the picture

	Mask          *Mask      // segment: which pixels
	Keypoints     []Keypoint // pose: in the model's order
	KeypointNames []string   // pose: their names, shared between objects; nil: not known
	Rotated       *Rotated   // obb: the box as it lies
}

// A Point is a position in pixels of the original picture.
type Point struct{ X, Y float32 }

// A Keypoint is a named spot of an object, in pixels of the original picture and
// clipped to it.
type Keypoint struct {
	Point
	Visible float32 // how sure the model is that it can be seen, 0..1; -1: it does not tell
}

// A Rotated is a box that lies at an angle. It may leave the picture.
type Rotated struct {
	X, Y    float32 // centre, in pixels of the original picture
	W, H    float32 // sides in pixels: W along the angle, H across; either may be longer
	Angle   float32 // in radians, clockwise as displayed, any value
	Corners [4]Point
}

// A Prob is how sure a classifier is of one class.
type Prob struct {
	Class      int
	Name       string // from the model's labels, or the class number when there is none
	Confidence float32
}

// A Region is the pixels of one class, wherever in the picture they are.
type Region struct {
	Class int
	Name  string  // from the model's labels, or the class number when there is none
	Share float64 // of the picture's pixels, 0..1
	Mask  *Mask   // which they are; it has no Polygon
}
