package ec2

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/hint"
	"snap-to-s3/internal/snapshot"
)

// SetTags implements catalog.Catalog. All tags are written by one call: all of
// them or none.
func (c *Catalog) SetTags(ctx context.Context, id snapshot.ID, tags map[string]string) error {
	return setTags(ctx, c.client, string(id), tags)
}

// DeleteTags implements catalog.Catalog.
func (c *Catalog) DeleteTags(ctx context.Context, id snapshot.ID, tags map[string]string) error {
	if len(tags) == 0 {
		return nil
	}
	_, err := c.client.DeleteTags(ctx, &awsec2.DeleteTagsInput{Resources: []string{string(id)}, Tags: tagList(tags)})
	return explain(ctx, err, fmt.Sprintf("delete tags %s of %s", names(tags), id))
}

func setTags(ctx context.Context, client *awsec2.Client, id string, tags map[string]string) error {
	if len(tags) == 0 {
		return nil // EC2 refuses a call without tags
	}
	_, err := client.CreateTags(ctx, &awsec2.CreateTagsInput{Resources: []string{id}, Tags: tagList(tags)})
	if aws.Code(err) == codeTagLimit {
		return hint.Wrap(fmt.Errorf("write tags %s of %s: it has no room for more tags (at most 50)", names(tags), id),
			"delete a tag that is not needed from "+id)
	}
	return explain(ctx, err, fmt.Sprintf("write tags %s of %s", names(tags), id))
}

// tagList gives every tag its value, empty ones too: DeleteTags with a value
// deletes only on a match, and without one it deletes whatever the value is.
func tagList(tags map[string]string) []types.Tag {
	list := make([]types.Tag, 0, len(tags))
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, types.Tag{Key: awssdk.String(k), Value: awssdk.String(tags[k])})
	}
	return list
}

func names(tags map[string]string) string {
	return strings.Join(slices.Sorted(maps.Keys(tags)), ", ")
}
