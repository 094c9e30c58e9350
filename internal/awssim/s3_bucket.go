package awssim

import (
	"encoding/xml"
	"net/http"
)

func (s *Server) headBucket(c *call) (*response, *apiError) {
	r := emptyResponse(http.StatusOK)
	r.header.Set("X-Amz-Bucket-Region", c.s3.conf.Region)
	return r, nil
}

func (s *Server) bucketLocation(c *call) (*response, *apiError) {
	region := c.s3.conf.Region
	if region == "us-east-1" {
		region = "" // as ever, its location is null
	}
	return xmlResponse(struct {
		XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ LocationConstraint"`
		Location string   `xml:",chardata"`
	}{Location: region})
}
